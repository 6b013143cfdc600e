"""One thing under one name: the object, or the ``module:attr`` string that leads to it."""

from __future__ import annotations

import importlib
import re
import sys
from types import FunctionType
from typing import Any

_TARGET = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


class Entry:
    """What is registered under `name`, and where it comes from.

    `value` is the object, or a lazy ``module:attr`` string. `source` says who registered it: a
    package and version for entry points, else the module that defines the object. `error` is what
    the last import raised.
    """

    __slots__ = ("error", "loaded", "name", "source", "value")

    def __init__(self, name: str, value: Any, source: str = "") -> None:
        self.name = name
        self.value = value
        self.source = source or _home_of(value)
        self.error: BaseException | None = None
        #: The object, or None while it has not been imported.
        self.loaded: Any = None if isinstance(value, str) else value

    def resolve(self) -> Any:
        """The object, imported if need be; what an import raises is kept in `error` and raised."""
        if self.loaded is None:
            try:
                self.loaded = self._load()
            except (Exception, SystemExit) as error:
                self.error = error
                raise
            self.error = None
        return self.loaded

    def _load(self) -> Any:
        return _import(self.value)

    def present(self) -> Any:
        """The object if it is there without an import, else None."""
        if self.loaded is not None:
            return self.loaded
        module, names = _parts(self.value)
        # Not getattr, by which a module may import what it promises.
        found = getattr(sys.modules.get(module), "__dict__", {}).get(names[0])
        for name in names[1:]:
            found = getattr(found, name, None)
        return found

    def is_same_as(self, other: Entry) -> bool:
        """Whether both stand for one thing: the same object, or its definition run again."""
        mine = self.present()
        if mine is not None and mine is other.present():
            return True
        return _identity(self.value) == _identity(other.value) is not None

    @property
    def label(self) -> str:
        """What it stands for, as ``module.name`` or ``module:attr``."""
        if isinstance(self.value, str):
            return self.value
        identity = _identity(self.value)
        return ".".join(identity) if identity else repr(self.value)

    def describe(self) -> str:
        """What it stands for, and where that comes from."""
        return f"{self.label} (from {self.source})"


def is_target(text: str) -> bool:
    """Whether `text` is of the form ``module:attr``."""
    return _TARGET.fullmatch(text) is not None


def _parts(target: str) -> tuple[str, list[str]]:
    module, _, attributes = target.partition(":")
    return module, attributes.split(".")


def _import(target: str) -> Any:
    module, names = _parts(target)
    found: Any = importlib.import_module(module)
    for name in names:
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{target} is {found!r}, which cannot be called")
    return found


def _identity(value: Any) -> tuple[str, str] | None:
    """The module and name by which a definition is known when it is run again.

    None for what has no such name: lambdas, what is defined in functions, methods, instances.
    """
    if isinstance(value, str):
        module, _, name = value.partition(":")
    elif isinstance(value, type | FunctionType):
        module, name = value.__module__, value.__qualname__
    else:
        return None
    return (module, name) if "<" not in name else None


def _home_of(value: Any) -> str:
    if isinstance(value, str):
        return value.partition(":")[0]
    return str(getattr(value, "__module__", None) or type(value).__module__)
