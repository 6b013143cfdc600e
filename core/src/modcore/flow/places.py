"""The one note on an error that says where in the flow it was raised, outermost first.

    pipeline → step 2 'parse' → branch 'b'

Every flow that an error passes puts its own part in front, so that the note grows instead of
becoming several.
"""

from __future__ import annotations

import contextlib
import copy
from typing import TypeVar

E = TypeVar("E", bound=Exception)

ARROW = " → "


class Place(str):
    """A note that a flow wrote; other people's notes are plain strings."""

    __slots__ = ()


def add_place(error: BaseException, kind: str, part: str, *, inside_flow: bool = False) -> None:
    """Say on `error` that it passed `part` (``step 2 'parse'``) of a `kind` (``pipeline``).

    With `inside_flow` the part is itself a flow, whose kind the note then need not repeat. The
    members of a group that a flow raised are told as well.
    """
    with contextlib.suppress(Exception):  # an error that takes no note is still the error
        _write(error, f"{kind}{ARROW}{part}", inside_flow)
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            if _place_of(member) is not None:
                add_place(member, kind, part, inside_flow=inside_flow)


def copy_of(error: E) -> E:
    """`error` again, with notes of its own; itself where its class has no way to be copied."""
    try:
        twin = copy.copy(error)
        if type(twin) is not type(error) or twin.args != error.args:
            return error  # its constructor makes another message of the message
        twin.__traceback__ = error.__traceback__
        twin.__cause__, twin.__context__ = error.__cause__, error.__context__
        twin.__suppress_context__ = error.__suppress_context__
        if hasattr(error, "__notes__"):
            twin.__notes__ = list(error.__notes__)
    except Exception:
        return error
    return twin


def _write(error: BaseException, here: str, inside_flow: bool) -> None:
    position = _place_of(error)
    if position is None:
        error.add_note(Place(here))
        return
    inner = error.__notes__[position]
    if inner == here or inner.startswith(here + ARROW):
        return  # the same error object, raised again in the same place
    if inside_flow:
        inner = inner.partition(ARROW)[2]
    error.__notes__[position] = Place(f"{here}{ARROW}{inner}")


def _place_of(error: BaseException) -> int | None:
    notes: list[str] = getattr(error, "__notes__", [])
    return next((at for at, note in enumerate(notes) if isinstance(note, Place)), None)
