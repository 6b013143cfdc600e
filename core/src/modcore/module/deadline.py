"""A time limit over several tasks, any of which may hang."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from modcore.errors import ModcoreError
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
        if seconds is not None and not 0 < seconds < 1e9:
            raise ValueError(f"timeout is {seconds}; it has to be a number of seconds above 0.")
        self._seconds = seconds
        self._cancelled = cancelled
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
        raise self._error(what)

    def _error(self, what: str) -> TimeoutError:
        return TimeoutError(f"{what} was not done after {self._seconds:g} s; give it more time.")

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
            if not running.wait(GRACE):
                error.add_note(f"{what} blocks, and is interrupted as soon as it comes back")
            raise
        return running.result()

    def _with_alarm(self, task: Callable[[], Any], seconds: float) -> Any:
        """Call `task`; raises _Expired after `seconds`. An alarm that is set already still rings."""

        def ring(*_: Any) -> None:
            raise _Expired(self)

        started = time.monotonic()
        handler = signal.getsignal(signal.SIGALRM)
        outer, _ = signal.getitimer(signal.ITIMER_REAL)
        if outer and outer <= seconds:
            return task()  # whoever is around us is less patient
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return task()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if outer:
                signal.setitimer(
                    signal.ITIMER_REAL, max(outer - (time.monotonic() - started), 1e-6)
                )
