"""Entry points as people write them, ``app.py:module`` or ``package.part:module``, and what they lead to."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from modcore.errors import InvalidRequest, ServiceError


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """`attribute` of the file at `place`, or of the module called so.

    ``str`` gives it back as it is written, the file with its whole path.
    """

    place: str
    attribute: str
    is_file: bool

    @classmethod
    def parse(cls, text: str) -> EntryPoint:
        """What `text` says; raises InvalidRequest for what says nothing."""
        place, colon, attribute = text.rpartition(":")
        is_file = place.endswith(".py") or os.sep in place
        if not colon or not place or "\0" in text:
            raise _wrong(text, "it needs a file or a module, a colon and a name")
        if not all(part.isidentifier() for part in attribute.split(".")):
            raise _wrong(text, f"{attribute!r} behind the colon is no Python name")
        if not is_file and not all(part.isidentifier() for part in place.split(".")):
            raise _wrong(text, f"{place!r} is neither a .py file nor a module's name")
        return cls(str(Path(place).absolute()) if is_file else place, attribute, is_file)

    @property
    def service_name(self) -> str:
        """A name for the service: the attribute, or the file's where that says nothing."""
        last = self.attribute.rpartition(".")[2]
        stem = Path(self.place).stem if self.is_file else self.place.rpartition(".")[2]
        return (stem if last in ("module", "app", "main") else last).strip("_") or "service"

    def verify(self) -> None:
        """Raise InvalidRequest for a file that is not there; nothing is imported."""
        if self.is_file and not Path(self.place).is_file():
            is_there = Path(self.place).exists()
            raise _wrong(str(self), f"{self.place} is {'no file' if is_there else 'not there'}")

    def load(self) -> Any:
        """Import it; raises ServiceError with the cause, and where in the code it is."""
        self.verify()
        loaded: Any = self._import()
        for name in self.attribute.split("."):
            try:
                loaded = getattr(loaded, name)
            except AttributeError:
                raise ServiceError(f"{self}: {_miss(loaded, name)}") from None
        return loaded

    def _import(self) -> ModuleType:
        """As Python does for a program: what lies beside the file can be imported."""
        sys.path.insert(0, str(Path(self.place).parent if self.is_file else Path.cwd()))
        try:
            return _import_file(self.place) if self.is_file else importlib.import_module(self.place)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a program's code raises anything, SystemExit included
            raise ServiceError(f"{self}: importing it fails with {_told(error)}") from error

    def __str__(self) -> str:
        return f"{self.place}:{self.attribute}"


def _import_file(path: str) -> ModuleType:
    stem = Path(path).stem
    # A file may be called like a module that is in use already; nobody imports it by that name then.
    taken = stem in sys.modules or stem in sys.stdlib_module_names
    name = f"_modcore_entry_{stem}" if taken else stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file; its name has to end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _told(error: BaseException) -> str:
    """An error, with the place in the file whose code raised it."""
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return told  # which says the place itself
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__
        and not frame.filename.startswith("<frozen")
        and "importlib" not in frame.filename
    ]
    return f"{told} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else told


def _miss(holder: Any, name: str) -> str:
    names = (
        [each for each in vars(holder) if not each.startswith("_")]
        if hasattr(holder, "__dict__")
        else []
    )
    close = difflib.get_close_matches(name, names, 1)
    hint = (
        f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names[:10]) or 'nothing'}."
    )
    return f"there is no {name!r}; {hint}"


def _wrong(text: str, fault: str) -> InvalidRequest:
    return InvalidRequest(
        f"{text!r} is no entry point: {fault}; write app.py:module or package.part:module."
    )
