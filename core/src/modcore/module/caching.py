"""A module's cache: results by arguments, for this one instance."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any


class Cache:
    """The last `size` results. Calls whose arguments cannot be compared are computed each time."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._results: OrderedDict[Any, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, args: tuple[Any, ...], kwargs: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """The result for these arguments; `compute` is called when it is not known yet."""
        key = _key(args, kwargs)
        with self._lock:
            if key is not None and key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        result = compute()
        if key is not None and not hasattr(result, "__next__") and not hasattr(result, "__anext__"):
            with self._lock:
                self._results[key] = result
                if len(self._results) > self._size:
                    self._results.popitem(last=False)
        return result

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
    """`value` with lists, tuples, dicts and sets made comparable; types stay apart (1 is not True)."""
    if isinstance(value, dict):
        return (dict, tuple((key, _frozen(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value), tuple(map(_frozen, value)))
    if isinstance(value, (set, frozenset)):
        return (type(value), frozenset(map(_frozen, value)))
    return (type(value), value)
