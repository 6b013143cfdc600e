"""A time limit over several tasks, any of which may hang."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Deadline:
    """`seconds` from now; None is never."""

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not 0 < seconds < 1e9:
            raise ValueError(f"timeout is {seconds}; it has to be a number of seconds above 0.")
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def call(self, task: Callable[[], Any], what: str) -> Any:
        """Call `task`; raises TimeoutError, which names `what`, when the time is over.

        In the main thread the task is interrupted wherever it is, blocking calls included. In any
        other thread Python has no such means: the task is left behind in a daemon thread.
        """
        if self._end is None:
            return task()
        left = self._end - time.monotonic()
        if left <= 0:
            raise self._error(what)
        if threading.current_thread() is threading.main_thread():
            with self._alarm(left, what):
                return task()
        return self._in_thread(task, left, what)

    def _error(self, what: str) -> TimeoutError:
        return TimeoutError(f"{what} was not done after {self._seconds:g} s; give it more time.")

    @contextmanager
    def _alarm(self, seconds: float, what: str) -> Iterator[None]:
        def ring(*_: Any) -> None:
            raise self._error(what)

        handler = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)

    def _in_thread(self, task: Callable[[], Any], seconds: float, what: str) -> Any:
        outcome: list[Any] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(task())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=work, name=what, daemon=True)
        thread.start()
        thread.join(seconds)
        if failure:
            raise failure[0]
        if not outcome:
            raise self._error(what)
        return outcome[0]
