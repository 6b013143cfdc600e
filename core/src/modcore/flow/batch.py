"""Calls without an order, that any number of threads work off together.

The thread that wants the results works too, so that a batch ends whether or not it gets help:
parallels inside parallels cannot wait for each other. After a failure nothing more is begun.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from modcore.flow.workers import workers

_TURN_SECONDS = 0.5


def _nothing() -> None:
    """What happens when nobody asked to be told."""


def wait_for(event: threading.Event) -> None:
    """Wait for `event`; an interrupt ends the wait.

    A signal that comes just before a lock is waited for is only seen after the wait: hence the turns.
    """
    while not event.wait(_TURN_SECONDS):
        pass


class Batch:
    """`results` and `failures` by the number of the call; neither has those never begun.

    `on_failure` and `on_end` are called in the thread where it happens, and may be called again.
    """

    def __init__(
        self,
        calls: Sequence[Callable[[], Any]],
        *,
        on_failure: Callable[[], None] = _nothing,
        on_end: Callable[[], None] = _nothing,
    ) -> None:
        self.results: dict[int, Any] = {}
        self.failures: dict[int, BaseException] = {}
        self._calls = calls
        self._on_failure, self._on_end = on_failure, on_end
        self._lock = threading.Lock()
        self._todo = deque(range(len(calls)))
        self._running = 0
        self._helpers = len(calls) - 1  # how many threads may still be asked to help
        self._ended = threading.Event()
        if not calls:
            self._ended.set()

    def work(self) -> None:
        """Do calls until none is left to begin."""
        while (number := self._claim()) is not None:
            try:
                self.results[number] = self._calls[number]()
            except BaseException as error:  # of any kind: it is raised where the results are wanted
                self._fail(number, error)
            self._finish()

    def start(self) -> None:
        """Have it worked off by other threads."""
        if self._todo:
            workers.start(self._help)

    def ask_for_help(self) -> None:
        """Wake two threads, each of which wakes two more, until there is one for each call but one.

        So calls that are over before the first is awake have not woken the others for nothing.
        """
        for _ in range(2):
            with self._lock:
                if not self._todo or not self._helpers:
                    return
                self._helpers -= 1
            if not workers.offer(self._help):
                return

    def _help(self) -> None:
        self.ask_for_help()
        self.work()

    def get_help(self) -> None:
        """See to it that what is left is begun although this thread is about to wait."""
        if self._todo:
            workers.start(self.work)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._todo.clear()
            ended = not self._running
        if ended:
            self._end()

    def wait(self) -> None:
        """Return when nothing runs any more, or at once after an interrupt."""
        wait_for(self._ended)

    def only_result(self) -> Any:
        """The result of a batch of one call; raises what it raised."""
        for error in self.failures.values():
            raise error
        return self.results[0]

    def _claim(self) -> int | None:
        with self._lock:
            if not self._todo:
                return None
            self._running += 1
            return self._todo.popleft()

    def _fail(self, number: int, error: BaseException) -> None:
        with self._lock:
            self.failures[number] = error
            self._todo.clear()
        if not isinstance(error, Exception):  # KeyboardInterrupt waits for nobody
            self._ended.set()
        self._on_failure()

    def _finish(self) -> None:
        with self._lock:
            self._running -= 1
            ended = not self._running and not self._todo
        if ended:
            self._end()

    def _end(self) -> None:
        self._calls = ()  # a barrier's way back here makes a circle of them
        self._ended.set()
        self._on_end()


def run_with_helpers(batch: Batch) -> None:
    """Work `batch` off in this thread and others."""
    try:
        batch.ask_for_help()
        batch.work()
        batch.wait()
    except BaseException:  # an interrupt of the wait
        batch.stop()
        raise


def run_elsewhere(batch: Batch) -> None:
    """Work `batch` off in other threads, and wait for them."""
    try:
        batch.start()
        batch.wait()
    except BaseException:
        batch.stop()
        raise
