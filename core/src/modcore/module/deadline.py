"""A time limit over several tasks, any of which may hang."""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from modcore.errors import ModcoreError


class _Expired(BaseException):
    """Rings through a task, whatever errors it catches; `deadline` is whose time is over."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline


class Cancelled(ModcoreError):
    """Nobody waits any more for what was to be done."""


class Deadline:
    """`seconds` from now; None is never."""

    def __init__(self, seconds: float | None, cancelled: threading.Event | None = None) -> None:
        if seconds is not None and not 0 < seconds < 1e9:
            raise ValueError(f"timeout is {seconds}; it has to be a number of seconds above 0.")
        self._seconds = seconds
        self._cancelled = cancelled or threading.Event()
        self._end = None if seconds is None else time.monotonic() + seconds

    def call(self, task: Callable[[], Any], what: str) -> Any:
        """Call `task`; raises TimeoutError, which names `what`, when the time is over.

        In the main thread the task is interrupted wherever it is, blocking calls included. In any
        other thread Python has no such means: the task is left behind in a daemon thread.
        """
        self.verify(what)
        result = self._call(task, what)
        self.verify(what)
        return result

    def verify(self, what: str) -> None:
        """Raise Cancelled when nobody waits any more."""
        if self._cancelled.is_set():
            raise Cancelled(f"{what} was given up.")

    def _call(self, task: Callable[[], Any], what: str) -> Any:
        if self._end is None:
            return task()
        left = self._end - time.monotonic()
        if left > 0 and threading.current_thread() is not threading.main_thread():
            return self._in_thread(task, left, what)
        if left > 0:
            try:
                return self._with_alarm(task, left)
            except _Expired as expired:
                if expired.deadline is not self:
                    raise
        raise self._error(what)

    def _error(self, what: str) -> TimeoutError:
        return TimeoutError(f"{what} was not done after {self._seconds:g} s; give it more time.")

    def _in_thread(self, task: Callable[[], Any], seconds: float, what: str) -> Any:
        outcome: list[Any] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(task())
            except BaseException as error:
                failure.append(error)

        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(work,), name=what, daemon=True)
        thread.start()
        thread.join(seconds)
        if failure:
            raise failure[0]
        if not outcome:
            raise self._error(what)
        return outcome[0]

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
