"""A time limit over several tasks, any of which may hang."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from modcore.errors import ModcoreError
from modcore.flow.interrupts import blocks
from modcore.module.interruptible import GRACE, HEARTBEAT, InterruptibleTask


class _Expired(BaseException):
    """Rings through a task, whatever errors it catches; `deadline` is whose time is over."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline


class Cancelled(ModcoreError):
    """Nobody waits any more for what was to be done."""


class Deadline:
    """`seconds` from now, None is never; or as soon as `cancelled` is set."""

    def __init__(self, seconds: float | None, cancelled: threading.Event | None = None) -> None:
        if seconds is not None and (type(seconds) not in (int, float) or not 0 < seconds < 1e9):
            raise ValueError(f"timeout is {seconds!r}; it has to be a number of seconds above 0.")
        self._seconds = seconds
        self._cancelled = cancelled
        self._late: list[tuple[str, TimeoutError]] = []  # what was not done in time
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    def call(self, task: Callable[[], Any], what: str) -> Any:
        """Call `task`; raises TimeoutError, which names `what`, when the time is over, or Cancelled.

        In the main thread the task is interrupted wherever it is, blocking calls included. In any
        other thread it is interrupted where it runs Python code, and what blocks outside of it is left
        behind: in a daemon thread, where it is interrupted as soon as it comes back.
        """
        self.verify(what)
        result = self._call(task, what)
        self.verify(what)
        return result

    def verify(self, what: str) -> None:
        """Raise Cancelled when nobody waits any more."""
        if self._is_cancelled:
            raise Cancelled(f"{what} was given up.")

    def as_one(self, group: ExceptionGroup) -> TimeoutError | None:
        """The one TimeoutError for several tasks that were not done in time; None if others failed."""
        late = {id(error): what for what, error in self._late}
        if not all(id(error) in late for error in group.exceptions):
            return None
        what = " and ".join(sorted(late[id(each)] for each in group.exceptions))
        error = TimeoutError(
            f"{what} were not done after {self._seconds:g} s; give them more time."
        )
        for note in dict.fromkeys(
            note for each in group.exceptions for note in getattr(each, "__notes__", ())
        ):
            error.add_note(note)
        return error

    @property
    def is_over(self) -> bool:
        """Whether the time has run out."""
        return self._left <= 0

    @property
    def _is_cancelled(self) -> bool:
        return self._cancelled is not None and self._cancelled.is_set()

    @property
    def _left(self) -> float:
        return self._end - time.monotonic()

    def _call(self, task: Callable[[], Any], what: str) -> Any:
        if self._left <= 0:
            raise self._error(what)
        if threading.current_thread() is not threading.main_thread():
            can_end = self._seconds is not None or self._cancelled is not None
            return self._in_thread(task, what) if can_end else task()
        if self._seconds is None:
            return task()
        try:
            return self._with_alarm(task, self._left)
        except _Expired as expired:
            if expired.deadline is not self:
                raise
            notes = getattr(expired, "__notes__", ())
        raise self._error(what, notes)

    def _error(self, what: str, notes: Iterable[str] = ()) -> TimeoutError:
        error = TimeoutError(f"{what} was not done after {self._seconds:g} s; give it more time.")
        for note in notes:
            error.add_note(note)
        self._late.append((what, error))
        return error

    def _in_thread(self, task: Callable[[], Any], what: str) -> Any:
        running = InterruptibleTask(task, what)
        try:
            running.start()
            while not running.wait(max(0.0, min(HEARTBEAT, self._left))):
                self.verify(what)
                if self._left <= 0:
                    raise self._error(what)
        except BaseException as error:
            running.interrupt()
            notes = running.notes if running.wait(GRACE) else [blocks(what)]
            for note in notes:
                error.add_note(note)
            raise
        return running.result()

    def _with_alarm(self, task: Callable[[], Any], seconds: float) -> Any:
        """Call `task`; raises _Expired after `seconds`."""

        def expire() -> None:
            raise _Expired(self)

        with _Alarm(time.monotonic() + seconds, expire):
            return task()


class _Alarm:
    """Our end, and the alarm that somebody has set already, on the one timer that a process has."""

    def __init__(self, end: float, expire: Callable[[], None]) -> None:
        self._end, self._expire = end, expire

    def __enter__(self) -> None:
        self._handler = signal.getsignal(signal.SIGALRM)
        left, self._interval = signal.getitimer(signal.ITIMER_REAL)
        self._outer = time.monotonic() + left if left else math.inf
        signal.signal(signal.SIGALRM, self._ring)
        self._set(min(self._outer, self._end))

    def _ring(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now >= self._outer:
            self._ring_outer(number, frame)
        elif now >= self._end:
            self._expire()
        else:
            self._set(min(self._outer, self._end))

    def _ring_outer(self, number: int, frame: FrameType | None) -> None:
        """Let the other alarm ring; what its handler raises goes through the task."""
        try:
            if callable(self._handler):
                self._handler(number, frame)
            elif self._handler == signal.SIG_DFL:  # which ends a process
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
        finally:
            again = signal.getitimer(signal.ITIMER_REAL)[0] or self._interval
            self._outer = time.monotonic() + again if again else math.inf
            self._set(min(self._outer, self._end))

    def _set(self, when: float, interval: float = 0.0) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(when - time.monotonic(), 1e-6), interval)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        if self._outer < math.inf:
            self._set(self._outer, self._interval)
