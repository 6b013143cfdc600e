"""Modules that register things when they are imported, and are imported when something is missed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from threading import get_ident


class Locations:
    """The locations of one registry. `errors` holds those that could not be imported, and why."""

    def __init__(self, names: Sequence[str]) -> None:
        if isinstance(names, str) or not all(isinstance(each, str) for each in names):
            raise TypeError(f"locations is {names!r}; it has to be a list of module names.")
        self.names = tuple(names)
        self.errors: dict[str, BaseException] = {}
        self._imported: set[str] = set()
        self._underway: set[tuple[int, str]] = set()

    def import_new(self) -> None:
        """Import what has not been tried; another thread that is at it already is waited for."""
        if len(self._imported) + len(self.errors) < len(self.names):
            for name in self.names:
                if name not in self._imported and name not in self.errors:
                    self._import(name)

    def import_all(self) -> None:
        """Import what has not been imported; what failed is tried again."""
        for name in self.names:
            if name not in self._imported:
                self._import(name)

    def _import(self, name: str) -> None:
        mark = (get_ident(), name)
        if mark in self._underway:  # a location that looks something up while it is imported
            return
        self._underway.add(mark)
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a location is somebody's code
            self.errors[name] = error
        else:
            self._imported.add(name)
            self.errors.pop(name, None)
        finally:
            self._underway.discard(mark)
