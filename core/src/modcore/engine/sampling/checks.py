"""Checks of single values: quick on absurd ones, and never repeating more than a line of them."""

from __future__ import annotations

from collections.abc import Sized
from typing import NoReturn

from modcore.errors import InvalidRequest

_SHOWN = 60  # characters of a wrong value that a message repeats
_BITS = 128  # longer numbers are not written out


def refuse(name: str, problem: str) -> NoReturn:
    """Raise InvalidRequest for the parameter `name`; the message begins with it."""
    raise InvalidRequest(f"{name} {problem}", param=name)


def shown(value: object) -> str:
    """`value` for a message: what it is, in at most a line, whatever its size."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}… ({len(value)} long)"
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, Sized):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def need_integer(name: str, value: object, low: int, high: int) -> int:
    """`value`, a whole number from `low` to `high`; raises InvalidRequest."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(name, f"is {shown(value)}; it has to be a whole number from {low} to {high}.")
    return value


def need_number(name: str, value: object, low: float, high: float, *, above: bool = False) -> float:
    """`value`, a number from `low` (`above`: without it) to `high`; raises InvalidRequest."""
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not numeric or not low <= value <= high or (above and value == low):  # type: ignore[operator]
        wanted = f"above {low:g} and up to {high:g}" if above else f"from {low:g} to {high:g}"
        refuse(name, f"is {shown(value)}; it has to be a number {wanted}.")
    return value  # type: ignore[return-value]


def need_flag(name: str, value: object) -> None:
    """`value` has to be true or false; raises InvalidRequest."""
    if not isinstance(value, bool):
        refuse(name, f"is {shown(value)}; it has to be true or false.")
