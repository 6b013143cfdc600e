"""What the processes of a pool are doing, in memory that they and their parent see.

Each process writes the number of the call that it does into a place of its own. So the parent can
interrupt one call, and nothing else that the same processes do for others.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Collection, Iterator
from typing import Any

from modcore.flow.interrupts import Interrupted

_SIGNAL = signal.SIGUSR1


class Place(ctypes.Structure):
    """One process: who it is, the call that it does, and the call that it is to leave."""

    _fields_ = (("pid", ctypes.c_long), ("call", ctypes.c_long), ("left", ctypes.c_long))


class Board:
    """The places of up to `width` processes; travels to them when they are started."""

    def __init__(self, width: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._places: Any = context.Array(Place, width)

    def interrupt(self, calls: Collection[int]) -> set[int]:
        """Interrupt those of `calls` that are being done; returns which they were."""
        return self._send(calls, _SIGNAL)

    def kill(self, calls: Collection[int]) -> None:
        """Kill the processes that do one of `calls`."""
        self._send(calls, signal.SIGKILL)

    def _send(self, calls: Collection[int], how: signal.Signals) -> set[int]:
        reached = set()
        for place in self._places.get_obj():
            if (call := place.call) in calls:
                place.left = call
                with contextlib.suppress(ProcessLookupError):
                    os.kill(place.pid, how)
                reached.add(call)
        return reached

    def take_place(self) -> None:
        """In a process that has begun: be there for interrupts. Ctrl-C is the parent's to act on."""
        global _mine
        with self._places.get_lock():
            _mine = next(place for place in self._places.get_obj() if not place.pid)
            _mine.pid = os.getpid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(_SIGNAL, _leave)


#: In a process of a pool: its place.
_mine: Any = None


@contextlib.contextmanager
def doing(call: int) -> Iterator[None]:
    """In a process of a pool: `call` may be interrupted inside the ``with`` block."""
    try:
        _mine.call = call
        yield
    finally:
        _mine.call = 0


def _leave(*_: object) -> None:
    if _mine.call and _mine.call == _mine.left:
        _mine.left = 0
        raise Interrupted
