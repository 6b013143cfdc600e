"""Waiting for something to become true, with an end to the patience."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Seconds that are enough on a busy machine, for what has no time of its own.
PATIENCE = 30.0
_PAUSE = 0.005


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE, what: str = "") -> float:
    """How long it took until `condition` held, in seconds; fails when it does not in time."""
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < seconds, f"not within {seconds} s: {what or condition}"
        time.sleep(_PAUSE)
    return time.monotonic() - started


async def await_until(
    condition: Callable[[], object], seconds: float = PATIENCE, what: str = ""
) -> None:
    """As `wait_until`, while the event loop goes on."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(_PAUSE)
