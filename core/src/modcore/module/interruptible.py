"""A task in a thread of its own, which can be interrupted; `flow/interrupts.py` says how far."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import CoroutineType
from typing import Any

from modcore.flow.calls import run
from modcore.flow.interrupts import HEARTBEAT, Latch, interrupt, lively
from modcore.flow.values import package

#: Seconds that an interrupted task gets to clean up behind itself, its flows' branches included.
GRACE = 2.5

__all__ = ["GRACE", "HEARTBEAT", "InterruptibleTask", "finished"]


class InterruptibleTask:
    """`task` in a daemon thread with this thread's context; begins with `start`."""

    def __init__(self, task: Callable[[], Any], name: str) -> None:
        self._task = task
        self._result: Any = None
        self._failure: BaseException | None = None
        self._is_running = self._is_given_up = False
        self._lock = threading.Lock()  # an interrupt meets the task, or nothing
        self._ended = Latch()
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
            self._ended.set()

    def _perform(self) -> None:
        try:
            self._result = self._task()
        except BaseException as error:
            self._failure = error

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, `seconds` from now at the latest."""
        return self._ended.wait(seconds)

    @property
    def has_succeeded(self) -> bool:
        """Whether it has ended, and raised nothing."""
        return self._ended.is_set and self._failure is None

    @property
    def notes(self) -> list[str]:
        """What was noted on what it raised, such as which branches of it block."""
        return list(getattr(self._failure, "__notes__", ()))

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
                interrupt(self._thread.ident or 0)


def finished(value: Any) -> None:
    """See what a task returned through to its end: coroutines are run, generators drained."""
    if type(value) is CoroutineType:
        finished(run(lively(value)))
    elif isinstance(value, AsyncIterator):
        run(lively(_drained(value)))
    elif isinstance(value, Iterator):
        for _ in value:
            pass
    elif type(value) is package:  # of a parallel's branches
        for each in value:
            finished(each)


async def _drained(pieces: AsyncIterator[Any]) -> None:
    async for _ in pieces:
        pass
