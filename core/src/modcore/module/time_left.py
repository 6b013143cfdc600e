"""How long the call that is being answered here may still take: what it calls elsewhere gets no more."""

from __future__ import annotations

import time
from contextvars import ContextVar

_end: ContextVar[float | None] = ContextVar("modcore_call_end", default=None)


def allow(seconds: float | None) -> None:
    """Let what this context calls from now on take `seconds` in all; None is for ever."""
    _end.set(None if seconds is None else time.monotonic() + seconds)


def within(seconds: float | None) -> float | None:
    """`seconds`, or what is left of the call that this context belongs to if that is less."""
    end = _end.get()
    if end is None:
        return seconds
    left = max(end - time.monotonic(), 0.001)
    return left if seconds is None else min(seconds, left)
