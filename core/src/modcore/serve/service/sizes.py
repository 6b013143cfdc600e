"""What takes long because it is large is done in a thread, so that nobody else's call waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

#: Bytes that take long enough to read or write them beside the event loop.
LARGE = 1 << 20
_DEPTH = 4

T = TypeVar("T")


async def aside_if_large(write: Callable[[Any], T], value: Any) -> T:
    """What `write` makes of `value`."""
    if _estimated(value) > LARGE:
        return await asyncio.to_thread(write, value)
    return write(value)


def _estimated(value: Any, depth: int = _DEPTH) -> int:
    """About how many bytes `value` takes, in a moment: of many elements the first speaks for all."""
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, dict):
        return _estimated_all(value.values(), depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _estimated_all(value, depth)
    size = getattr(value, "nbytes", 8)  # of arrays and tensors
    return size if isinstance(size, int) else 8


def _estimated_all(values: Any, depth: int) -> int:
    count = len(values)
    if not depth or not count:
        return 8 * count
    if count > 16:
        return count * _estimated(next(iter(values)), depth - 1)
    return sum(_estimated(each, depth - 1) for each in values)
