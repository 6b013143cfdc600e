"""Calls without an order, that any number of threads work off together.

The thread that wants the results works too, so that a batch ends whether or not it gets help:
parallels inside parallels cannot wait for each other. After a failure nothing more is begun. When
that thread is interrupted, so is what runs in the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from modcore.flow.interrupts import GRACE, Interrupted, Latch, interrupt, spare
from modcore.flow.workers import workers

_TURN_SECONDS = 0.5


def _nothing() -> None:
    """What happens when nobody asked to be told."""


def wait_for(latch: Latch) -> None:
    """Wait for `latch`; an interrupt ends the wait.

    A signal that comes just before a lock is waited for is only seen after the wait: hence the turns.
    """
    while not latch.wait(_TURN_SECONDS):
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
        self._running: dict[
            int, int | None
        ] = {}  # the thread that runs it, unless it is our caller's
        self._is_given_up = False
        self._helpers = len(calls) - 1  # how many threads may still be asked to help
        self._ended = Latch()
        if not calls:
            self._ended.set()

    def work(self, thread: int | None = None) -> None:
        """Do calls until none is left to begin; `thread` is this one if it may be interrupted."""
        while (number := self._claim(thread)) is not None:
            try:
                self.results[number] = self._calls[number]()
            except BaseException as error:  # of any kind: it is raised where the results are wanted
                self._fail(number, error)
            self._finish(number)

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
        self.work_here()

    def work_here(self) -> None:
        """Work in a thread that does nothing else, where nothing else can be meant by an interrupt."""
        thread = threading.get_ident()
        try:
            self.work(thread)
        except Interrupted:  # between the end of a call and our note of it; a second never comes
            for number in [each for each, by in self._running.items() if by == thread]:
                self._finish(number)

    def get_help(self) -> None:
        """See to it that what is left is begun although this thread is about to wait."""
        if self._todo:
            workers.start(self.work_here)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._todo.clear()
            ended = not self._running
        if ended:
            self._end()

    def interrupt(self) -> None:
        """Begin nothing more, and interrupt what runs in other threads."""
        self.stop()
        with self._lock:
            if not self._is_given_up:
                self._is_given_up = True
                for thread in filter(None, self._running.values()):
                    interrupt(thread)

    @property
    def elsewhere(self) -> list[int]:
        """The calls that run in other threads."""
        return [number for number, thread in list(self._running.items()) if thread is not None]

    def give_up(self) -> list[int]:
        """Interrupt it, and wait a little; returns the calls that block."""
        self.interrupt()
        end = time.monotonic() + GRACE
        while self.elsewhere and time.monotonic() < end:
            time.sleep(0.005)
        return self.elsewhere

    async def agive_up(self) -> list[int]:
        """As `give_up`, however often the task that waits is cancelled."""
        self.interrupt()
        end = time.monotonic() + GRACE
        while self.elsewhere and time.monotonic() < end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)
        return self.elsewhere

    def wait(self) -> None:
        """Return when nothing runs any more; raises at once what is no Exception."""
        wait_for(self._ended)
        for _, error in sorted(self.failures.items()):
            if not isinstance(error, Exception):
                raise error

    def only_result(self) -> Any:
        """The result of a batch of one call; raises what it raised."""
        for error in self.failures.values():
            raise error
        return self.results[0]

    def _claim(self, thread: int | None) -> int | None:
        with self._lock:
            if not self._todo:
                return None
            number = self._todo.popleft()
            self._running[number] = thread
            return number

    def _fail(self, number: int, error: BaseException) -> None:
        with self._lock:
            self.failures[number] = error
            self._todo.clear()
        if not isinstance(error, Exception):  # KeyboardInterrupt waits for nobody
            self._ended.set()
        self._on_failure()

    def _finish(self, number: int) -> None:
        with self._lock:
            thread = self._running.pop(number, None)
            if self._is_given_up and thread is not None:
                spare(thread)
            ended = not self._running and not self._todo
        if ended:
            self._end()

    def _end(self) -> None:
        self._calls = ()  # a barrier's way back here makes a circle of them
        self._ended.set()
        self._on_end()


def run_with_helpers(batch: Batch) -> None:
    """Work `batch` off in this thread and others; what is no Exception is raised at once."""
    batch.ask_for_help()
    batch.work()
    batch.wait()


def run_elsewhere(batch: Batch) -> None:
    """Work `batch` off in other threads, and wait for them; an interrupt of the wait interrupts them."""
    try:
        batch.start()
        batch.wait()
    except BaseException:
        batch.give_up()
        raise


async def run_beside(call: Callable[[], Any]) -> Any:
    """`call` in a thread of the running loop's executor; a cancelled wait interrupts it."""
    batch = Batch([functools.partial(contextvars.copy_context().run, call)])
    loop = asyncio.get_running_loop()
    try:
        await asyncio.shield(loop.run_in_executor(None, batch.work_here))
    except BaseException:
        await batch.agive_up()
        raise
    return batch.only_result()
