"""Commands of the command line, as the core and its plugins describe them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

from modcore.errors import PluginError


class Command(NamedTuple):
    """One command: `add_arguments` declares its options, `run` does it and returns the exit code."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class CommandTable:
    """The commands that plugins add."""

    def __init__(self, reserved: frozenset[str]) -> None:
        self._reserved = reserved
        self._commands: dict[str, Command] = {}

    def add(self, command: Command) -> None:
        """Add `command`; raises PluginError when its name is taken."""
        if command.name in self._reserved or command.name in self._commands:
            raise PluginError(f"the command {command.name!r} is taken; choose another name for it.")
        self._commands[command.name] = command

    def get(self, name: str) -> Command | None:
        """The command called `name`, or None."""
        return self._commands.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)
