"""What travels between items: one value, or a package of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class package(tuple[Any, ...]):  # noqa: N801 - the seeds' name
    """Several values that the next item takes as several arguments: ``package(1, 2)``.

    A parallel hands one on, with one value per branch. A plain tuple stays one value.
    """

    __slots__ = ()

    def __new__(cls, *values: Any) -> package:
        """The package of `values`."""
        return tuple.__new__(cls, values)

    @classmethod
    def of(cls, values: Iterable[Any]) -> package:
        """The package of what `values` yields."""
        return tuple.__new__(cls, values)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


def arguments(value: Any) -> tuple[Any, ...]:
    """The positional arguments that `value` becomes for the next item."""
    return value if type(value) is package else (value,)


def one_value(args: tuple[Any, ...]) -> Any:
    """What `args` are when they travel: the argument itself, or a package of several or none."""
    return args[0] if len(args) == 1 else package.of(args)


def plain(value: Any) -> Any:
    """`value` as an argument among others: a package is then a tuple like any other."""
    return tuple(value) if type(value) is package else value
