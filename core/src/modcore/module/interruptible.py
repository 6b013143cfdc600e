"""A task in a thread of its own, which can be interrupted.

Python ends no thread from outside, but it can raise an error in one, which its Python code meets at
its next step. Code that waits in C (a sleep, a lock, a socket, a long computation) meets it when
that returns, and not before.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

from modcore.flow.calls import run

GRACE = 2.0  # seconds that an interrupted task gets to clean up behind itself
HEARTBEAT = 0.05  # seconds after which somebody who waits looks up


class Interrupted(SystemExit):
    """Raised inside a task that nobody waits for any more; like any SystemExit, it ends a thread."""


class InterruptibleTask:
    """`task` in a daemon thread with this thread's context; begins with `start`."""

    def __init__(self, task: Callable[[], Any], name: str) -> None:
        self._task = task
        self._result: Any = None
        self._failure: BaseException | None = None
        self._is_running = self._is_given_up = self._is_over = False
        self._lock = threading.Lock()  # an interrupt meets the task, or nothing
        # Not Thread.join(), Event or Condition: an interrupt in the middle of those breaks them.
        self._ended = threading.Lock()
        self._ended.acquire()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name=name, daemon=True
        )
        self.start = self._thread.start

    def _run(self) -> None:
        try:
            with self._lock:
                self._is_running = not self._is_given_up
            if self._is_running:
                self._perform()
            with self._lock:
                self._is_running = False
        finally:
            self._is_over = True
            self._ended.release()

    def _perform(self) -> None:
        try:
            self._result = self._task()
        except BaseException as error:
            self._failure = error

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, `seconds` from now at the latest."""
        if not self._is_over and self._ended.acquire(timeout=seconds):
            self._ended.release()
        return self._is_over

    def result(self) -> Any:
        """What the task returned; raises what it raised. For a task that has ended."""
        if self._failure is not None:
            raise self._failure
        return self._result

    def interrupt(self) -> None:
        """Raise Interrupted in the task; one that has not begun never does."""
        with self._lock:
            self._is_given_up = True
            if self._is_running:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(Interrupted)
                )


def settled(value: Any) -> Any:
    """`value`, or what it ends with where it is a coroutine; that one can be interrupted while it waits."""
    return run(_lively(value)) if type(value) is CoroutineType else value


async def _lively(coroutine: Coroutine[Any, Any, Any]) -> Any:
    task = asyncio.ensure_future(coroutine)
    while not task.done():  # an event loop that waits for nothing else waits in C
        await asyncio.wait({task}, timeout=HEARTBEAT)
    return task.result()
