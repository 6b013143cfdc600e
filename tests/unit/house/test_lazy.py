"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import modcore.engine
import modcore.gateway
import modcore.plugins
import modcore.vision
from modcore.errors import MissingExtra
from modcore.lazy import lazy


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that has a module `light` with `number`, and `heavy`, which needs what is not there."""
    (tmp_path / "a_lazy_package").mkdir()
    (tmp_path / "a_lazy_package" / "__init__.py").touch()
    (tmp_path / "a_lazy_package" / "light.py").write_text("number = 3")
    (tmp_path / "a_lazy_package" / "heavy.py").write_text("import no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)
    return "a_lazy_package"


@pytest.mark.parametrize(
    "room",
    [modcore.engine, modcore.gateway, modcore.plugins, modcore.vision],
    ids=lambda r: r.__name__,
)
def test_every_public_name_of_a_room_is_there(room: object) -> None:
    for name in room.__all__:  # type: ignore[attr-defined]
        assert getattr(room, name) is not None


def test_name_is_imported_when_it_is_asked_for(package: str) -> None:
    find = lazy(package, {"number": "light"})
    assert f"{package}.light" not in sys.modules
    assert find("number") == 3


def test_unknown_name_is_no_attribute(package: str) -> None:
    with pytest.raises(AttributeError, match="module 'a_lazy_package' has no attribute 'other'"):
        lazy(package, {"number": "light"})("other")


def test_what_an_extra_brings_is_asked_for_by_its_name(package: str) -> None:
    find = lazy(
        package, {"big": "heavy"}, who="Lifting needs", extra="lift", brings=["no_such_thing"]
    )
    with pytest.raises(MissingExtra, match=r"Lifting needs no_such_thing, .*'modcore\[lift\]'"):
        find("big")


def test_any_other_missing_module_is_an_error_of_its_own(package: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        lazy(package, {"big": "heavy"})("big")
