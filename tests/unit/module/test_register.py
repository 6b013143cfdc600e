"""Groups of modules by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import modcore
from modcore.errors import ModcoreError
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


@pytest.mark.parametrize("name", ["", "two words", "_private", "1st", "pipeline"])
def test_group_needs_a_python_name(register: ModuleRegister, name: str) -> None:
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
