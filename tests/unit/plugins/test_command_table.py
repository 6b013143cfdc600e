"""The commands that plugins add, under names that are free."""

from __future__ import annotations

import pytest

from modcore.errors import PluginError
from modcore.plugins.commands import Command, CommandTable


def command(name: str) -> Command:
    return Command(name, "A test.", lambda parser: None, lambda args: 0)


def test_a_command_when_added_is_found_by_its_name() -> None:
    table = CommandTable(frozenset({"serve"}))
    hello = command("hello")

    table.add(hello)

    assert table.get("hello") is hello
    assert table.get("other") is None
    assert list(table) == ["hello"]


@pytest.mark.parametrize("taken", ["serve", "hello"])
def test_a_command_whose_name_is_taken_is_refused(taken: str) -> None:
    table = CommandTable(frozenset({"serve"}))
    table.add(command("hello"))

    with pytest.raises(PluginError, match=f"the command '{taken}' is taken; choose another name"):
        table.add(command(taken))

    assert list(table) == ["hello"]
