"""A module's cache: results by arguments, for this one instance."""

from __future__ import annotations

import copy
import datetime
import inspect
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from threading import Lock
from typing import Any

from modcore.errors import InvalidRequest

MISSING = object()

#: What never changes, and is what its value says.
_VALUES = frozenset(
    {
        *(type(None), bool, int, str, bytes, range, type(...)),
        *(Fraction, uuid.UUID, datetime.date, datetime.timedelta),
    }
)

#: Values that Python calls equal, and that their text tells apart: 0.0 and -0.0, 1.0 and 1.00.
_TOLD_BY_TEXT = frozenset({float, complex, Decimal, datetime.datetime, datetime.time})


class Cache:
    """The last `size` results, by the values of the arguments; a caller gets a copy of his own.

    Where an argument is no value (a tensor, an object of somebody's class), a call is computed each
    time: such an argument may have changed, and be equal to itself all the same. So is a call whose
    result cannot be copied.
    """

    def __init__(self, size: int = 1024) -> None:
        if type(size) is not int or size < 1:
            raise InvalidRequest(
                f"size is {size!r}; it has to be a whole number from 1 on.", param="size"
            )
        self._size = size
        self._results: OrderedDict[Any, Any] = OrderedDict()
        self._lock = Lock()

    def find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The key of these arguments, None when they have none, and the result or MISSING."""
        key = _key(args, kwargs)
        with self._lock:
            if key is None or key not in self._results:
                return key, MISSING
            self._results.move_to_end(key)
            result = self._results[key]
        return key, copy.deepcopy(result)

    def keep(self, key: Any, result: Any) -> None:
        """Keep `result` under `key`, unless it can be read only once."""
        if (
            key is None
            or inspect.isawaitable(result)
            or isinstance(result, (Iterator, AsyncIterator))
        ):
            return
        try:
            result = copy.deepcopy(result)
        except Exception:  # an object may raise anything when it is copied
            return
        with self._lock:
            self._results[key] = result
            if len(self._results) > self._size:
                self._results.popitem(last=False)

    def __getstate__(self) -> int:
        return self._size  # results stay where they were made

    def __setstate__(self, size: int) -> None:
        self.__init__(size)  # type: ignore[misc]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._results.clear()


class _NoValue(TypeError):
    """Something among the arguments may change."""


def _key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        key = (_frozen(args), _frozen(kwargs))
        hash(key)
    except (TypeError, RecursionError):  # the latter of lists that hold themselves, or lie too deep
        return None
    return key


def _frozen(value: Any) -> Any:
    """`value` with lists, tuples, dicts and sets made comparable; raises _NoValue for what is none.

    What Python calls equal stays apart where a function may tell it: 1, True and 1.0, 0.0 and -0.0.
    """
    kind = type(value)
    if kind in _VALUES or isinstance(value, (Enum, PurePath)):
        return kind, value
    if kind in _TOLD_BY_TEXT:
        return kind, repr(value)
    if kind is dict:
        return kind, tuple((_frozen(key), _frozen(item)) for key, item in value.items())
    if (
        kind is list
        or kind is tuple
        or (isinstance(value, tuple) and not hasattr(value, "__dict__"))
    ):
        return kind, tuple(map(_frozen, value))
    if kind is set or kind is frozenset:
        return kind, frozenset(map(_frozen, value))
    if kind is bytearray:
        return kind, bytes(value)
    raise _NoValue
