"""Groups of modules by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

import modcore
from modcore.errors import ModcoreError, PluginError
from modcore.module.register import ModuleRegister
from plugin_sites import Site


@pytest.fixture
def register() -> Iterator[ModuleRegister]:
    yield ModuleRegister()


def test_function_becomes_a_module_and_stays_a_function(register: ModuleRegister) -> None:
    register.new_group("mine")

    @register("mine")
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4
    module = register.group("mine").double()
    assert isinstance(module, modcore.ModuleBase)
    assert module(2) == 4
    assert repr(module) == "<Module type=Function name=double>"


def test_class_is_registered_under_another_name(register: ModuleRegister) -> None:
    register.new_group("mine")

    @register("mine", "short")
    class LongName(modcore.ModuleBase):
        def __init__(self, factor: int) -> None:
            super().__init__()
            self.factor = factor

    assert register.group("mine").short(3).factor == 3


def test_unknown_group_and_unknown_module_are_named_with_the_near_one(
    register: ModuleRegister,
) -> None:
    register.new_group("mine")
    register("mine")(len)
    with pytest.raises(ModcoreError, match="did you mean 'mine'"):
        register("mien")
    with pytest.raises(AttributeError, match="did you mean 'len'"):
        register.group("mine").lem  # noqa: B018
    with pytest.raises(AttributeError):
        modcore.no_such_group  # noqa: B018


TAKEN = ["pipeline", "engine", "flow", "training", "errors", "serve", "cli", "class", "None"]


@pytest.mark.parametrize("name", ["", "two words", "_private", "1st", 5, None, *TAKEN])
def test_group_needs_a_python_name_that_is_free(register: ModuleRegister, name: Any) -> None:
    with pytest.raises(ValueError, match="cannot name a group"):
        register.new_group(name)


def test_entry_points_fill_the_same_groups_without_being_imported(
    site: Site, register: ModuleRegister
) -> None:
    site.install(
        "extra",
        entry_points={"modcore.modules": {"texts.shout": "extra_texts:shout"}},
        modules={"extra_texts": "def shout(text):\n    return text + '!'\n"},
    )
    register.new_group("texts")  # ours: the package's modules join it
    group = register.group("texts")
    assert "extra_texts" not in sys.modules
    assert group.shout()("hi") == "hi!"


def test_a_module_that_cannot_be_used_says_why_and_leaves_its_name_to_others(
    site: Site, register: ModuleRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("extra", entry_points={"modcore.modules": {"texts.shout": "extra_texts:shout"}})
    monkeypatch.setenv("MODCORE_DISABLE_PLUGINS", "extra")
    group = register.group("texts")

    with pytest.raises(AttributeError, match=r"from extra 1\.0 cannot be used: denied by MODCORE_"):
        group.shout  # noqa: B018
    register("texts", "shout")(str.upper)
    assert group.shout()("hi") == "HI"


def test_a_module_that_two_packages_bring_names_both_and_the_cure(
    site: Site, register: ModuleRegister
) -> None:
    for dist in ("alpha", "beta"):
        site.install(dist, entry_points={"modcore.modules": {"texts.shout": f"{dist}_t:shout"}})

    with pytest.raises(
        ModcoreError, match=r"claimed by alpha 1\.0 and beta 1\.0; uninstall the one"
    ):
        register.group("texts").shout  # noqa: B018


def test_a_broken_module_names_its_package_and_the_pip_line(
    site: Site, register: ModuleRegister
) -> None:
    site.install("extra", entry_points={"modcore.modules": {"texts.shout": "no_such:shout"}})

    with pytest.raises(ModcoreError, match=r"plugin extra 1\.0 is broken: .*try: pip install"):
        register.group("texts").shout  # noqa: B018


def test_a_module_that_cannot_be_called_names_its_package(
    site: Site, register: ModuleRegister
) -> None:
    site.install(
        "extra",
        entry_points={"modcore.modules": {"texts.shout": "extra_texts:shout"}},
        modules={"extra_texts": "shout = 7"},
    )

    with pytest.raises(PluginError, match=r"extra 1\.0\) is 7, which cannot be called"):
        register.group("texts").shout  # noqa: B018


def test_a_broken_module_is_not_there_for_hasattr_and_explained_to_who_misspells_it(
    site: Site, register: ModuleRegister
) -> None:
    site.install("extra", entry_points={"modcore.modules": {"texts.shout": "no_such:shout"}})
    group = register.group("texts")
    assert not hasattr(group, "shout")
    with pytest.raises(
        AttributeError, match=r"did you mean 'shout'\? It cannot be used: .*no_such"
    ):
        group.shuot  # noqa: B018


def test_a_group_with_a_near_name_is_named() -> None:
    modcore.module_register.new_group("nearlings")
    with pytest.raises(AttributeError, match="did you mean the group 'nearlings'"):
        modcore.nearlingz  # noqa: B018
