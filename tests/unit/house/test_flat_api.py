"""`from modcore import ...`: every name of the flat API, and nothing loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import modcore
import modcore.flow
import modcore.registry

PLACEHOLDERS = [f"_{number}" for number in range(10)]


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_a_placeholder_is_the_flows_own(name: str) -> None:
    assert name in modcore.__all__
    assert getattr(modcore, name) is getattr(modcore.flow, name)


def test_placeholders_when_imported_flat_bind() -> None:
    from modcore import _0, _1, bind

    assert bind(pow, _1, _0)(2, 3) == 9


def test_the_default_scope_is_the_registrys_own() -> None:
    assert modcore.DefaultScope is modcore.registry.DefaultScope


def test_an_unknown_private_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="_10"):
        modcore._10  # noqa: B018


def test_names_come_one_at_a_time_in_a_fresh_interpreter() -> None:
    code = (
        "import sys, modcore; loaded = lambda: sorted(m for m in sys.modules if m.startswith('modcore.'));"
        "assert loaded() == ['modcore._version'], loaded();"
        "from modcore import _0, _9, DefaultScope;"
        "assert not {'torch', 'modcore.module', 'modcore.engine'} & set(sys.modules), loaded();"
        "from modcore import *; assert repr(_3) and pipeline"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
