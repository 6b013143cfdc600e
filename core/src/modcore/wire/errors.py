"""Errors as they travel: described as plain values over there, rebuilt as themselves here."""

from __future__ import annotations

import contextlib
import math
import sys
import traceback
from collections.abc import Callable
from typing import Any

from modcore.errors import ModcoreError

MAX_MEMBERS = 100  # of a group that travel
_MAX_DEPTH = 8  # of causes and groups
_MAX_NOTES = 20

#: Makes the text of an error's traceback.
Told = Callable[[BaseException], str]


class RemoteError(ModcoreError):
    """An error of a type that only the other side knows; ``type_name`` is its name."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name, self.message = type_name, message

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str]]:
        return RemoteError, (self.type_name, self.message)


def describe(error: BaseException, told: Told | None = None) -> dict[str, Any]:
    """`error` for anyone: its type and message.

    With `told`, for whoever it belongs to: also what it was made of, its notes, members and causes, and its
    traceback as `told` writes it.
    """
    if told is None:
        return {"type": type(error).__qualname__, "message": _public_message(error)}
    return {**_described(error, 0), "traceback": _text(told(error))}


def rebuild(described: Any) -> Exception:
    """What `describe` described: as itself where its class is loaded here, else a RemoteError."""
    if not isinstance(described, dict):
        return RemoteError("Error", str(described))
    error = _rebuilt(described, 0)
    if text := described.get("traceback"):
        error.add_note(f"in the service:\n{text}")
    return error


def traceback_of(error: BaseException, plumbing: tuple[str, ...] = ()) -> str:
    """The traceback without the frames of files below `plumbing`, unless there are no others."""
    told = traceback.TracebackException.from_exception(error)
    own = [frame for frame in told.stack if not frame.filename.startswith(plumbing)]
    told.stack = traceback.StackSummary.from_list(own or told.stack)
    told.__notes__ = None  # they travel by themselves
    return "".join(told.format())


def _described(error: BaseException, depth: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": type(error).__qualname__,
        "module": type(error).__module__,
        "message": _message(error),
        "args": _plain_arguments(error),
        "notes": [_text(note) for note in getattr(error, "__notes__", ())][:_MAX_NOTES],
    }
    if depth < _MAX_DEPTH:
        if isinstance(error, BaseExceptionGroup):
            members = error.exceptions[:MAX_MEMBERS]
            described["exceptions"] = [_described(each, depth + 1) for each in members]
        if error.__cause__ is not None:
            described["cause"] = _described(error.__cause__, depth + 1)
    return described


def _message(error: BaseException) -> str:
    """What the error's class can be made of again."""
    if isinstance(error, BaseExceptionGroup):
        return str(error.message)
    if isinstance(error, KeyError) and error.args:
        return _text(error.args[0])
    return _text(error)


def _public_message(error: BaseException) -> str:
    """The message, without the path of a file that was not found."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _message(error)


def _text(value: Any) -> str:
    try:
        text = str(value)
    except Exception as failure:  # an object may raise anything when it is shown
        text = f"(its message cannot be shown: {type(failure).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()


def _plain_arguments(error: BaseException) -> list[Any] | None:
    """Its arguments where they are plain, for errors of several or of no text."""
    kinds = (str, int, float, bool, type(None))
    args = error.args
    if isinstance(error, OSError) and isinstance(error.filename, str) and len(args) == 2:
        args = (*args, error.filename)  # which the class keeps apart
    if len(args) > 8 or not all(type(each) in kinds for each in args):
        return None
    numbers = [each for each in args if type(each) in (int, float)]
    if not all(math.isfinite(each) and abs(each) < 2**63 for each in numbers):
        return None
    return None if any(_text(each) != each for each in args if type(each) is str) else list(args)


def _rebuilt(described: dict[str, Any], depth: int) -> Exception:
    message = str(described.get("message", ""))
    error = _as_itself(described, message, depth)
    if error is None:
        error = RemoteError(str(described.get("type")), message)
    for note in _list(described.get("notes"))[:_MAX_NOTES]:
        error.add_note(str(note))
    cause = described.get("cause")
    if isinstance(cause, dict) and depth < _MAX_DEPTH:
        error.__cause__ = _rebuilt(cause, depth + 1)
    return error


def _as_itself(described: dict[str, Any], message: str, depth: int) -> Exception | None:
    members = [each for each in _list(described.get("exceptions")) if isinstance(each, dict)]
    if members and depth < _MAX_DEPTH:
        return ExceptionGroup(
            message, [_rebuilt(each, depth + 1) for each in members[:MAX_MEMBERS]]
        )
    kind = _class_of(str(described.get("module", "builtins")), str(described.get("type")))
    if kind is None:
        return None
    args = described.get("args")
    with contextlib.suppress(Exception):  # not every exception can be made of its arguments
        if isinstance(args, list) and _message(error := kind(*args)) == message:
            return error
    with contextlib.suppress(Exception):
        return kind(message)
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _class_of(module: str, name: str) -> type[Exception] | None:
    """An exception class that is loaded here already; nothing is imported because a service names it."""
    # Not by getattr: a package that loads its names lazily would import one then.
    found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    return found if isinstance(found, type) and issubclass(found, Exception) else None
