"""Interrupting what runs in another thread.

Python ends no thread from outside, but it can raise an error in one, which its Python code meets at
its next step. Code that waits in C (a sleep, a lock, a socket, a long computation) meets it when
that returns, and not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
from collections.abc import Coroutine
from typing import Any

GRACE = 1.0  # seconds that an interrupted branch gets to clean up behind itself
HEARTBEAT = 0.05  # seconds after which somebody who waits looks up


class Interrupted(SystemExit):
    """Raised inside a call that nobody waits for any more; like any SystemExit, it ends a thread."""


def interrupt(thread: int) -> None:
    """Raise Interrupted in the thread with this identifier, as soon as it runs Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(Interrupted)
    )


def spare(thread: int) -> None:
    """Take back an interrupt that has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


def blocks(what: str) -> str:
    """The note on an error that says what could not be interrupted."""
    return f"{what} blocks, and is interrupted as soon as it comes back"


class Latch:
    """An Event on a bare lock: an interrupt in the middle of Event.wait() can break its condition."""

    __slots__ = ("_lock", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Release whoever waits, for good."""
        if not self.is_set:
            self.is_set = True
            self._release()

    def wait(self, seconds: float) -> bool:
        """Whether it is set, `seconds` from now at the latest."""
        if not self.is_set and self._lock.acquire(timeout=seconds):
            self._release()
        return self.is_set

    def _release(self) -> None:
        with contextlib.suppress(RuntimeError):  # somebody else has, at the same time
            self._lock.release()


async def lively(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """`coroutine`, for `asyncio.run`, on a loop that looks up now and then: an idle one waits in C.

    When this is cancelled, so is all that the loop runs: cancelling it here too would disturb the end
    of what is already ending.
    """
    task = asyncio.ensure_future(coroutine)
    while not task.done():
        await asyncio.wait({task}, timeout=HEARTBEAT)
    return task.result()
