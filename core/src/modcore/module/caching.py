"""A module's cache: results by arguments, for this one instance."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from threading import Lock
from typing import Any

MISSING = object()


class Cache:
    """The last `size` results. Calls whose arguments cannot be compared are computed each time."""

    def __init__(self, size: int = 1024) -> None:
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
            return key, self._results[key]

    def keep(self, key: Any, result: Any) -> None:
        """Keep `result` under `key`, unless it can be read only once."""
        if (
            key is None
            or inspect.isawaitable(result)
            or isinstance(result, (Iterator, AsyncIterator))
        ):
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


def _key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        key = (_frozen(args), _frozen(kwargs))
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Any:
    """`value` with lists, tuples, dicts and sets made comparable.

    What Python calls equal stays apart where a function may tell it: 1, True and 1.0, 0.0 and -0.0.
    """
    if isinstance(value, dict):
        return (type(value), tuple((_frozen(key), _frozen(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value), tuple(map(_frozen, value)))
    if isinstance(value, (set, frozenset)):
        return (type(value), frozenset(map(_frozen, value)))
    if isinstance(value, (float, complex)):
        return (type(value), repr(value), value)  # repr tells the sign of a zero
    return (type(value), value)
