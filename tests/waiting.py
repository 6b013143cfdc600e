"""Waiting for something to become true, with an end to the patience."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float, what: str = "") -> float:
    """How long it took until `condition` held, in seconds; fails when it does not in time."""
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < seconds, f"not within {seconds} s: {what or condition}"
        time.sleep(0.005)
    return time.monotonic() - started
