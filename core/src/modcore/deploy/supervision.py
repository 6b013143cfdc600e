"""A service that is started again when its process dies: with a growing pause, so often and no more."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from modcore.deploy.child import Child
from modcore.errors import ServiceError
from modcore.flow.interrupts import HEARTBEAT, Latch
from modcore.plugins.records import ServiceSpec

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds before a restart; each is twice the one before
STEADY_SECONDS = 60.0  # a process that has run so long owes nothing to those before it


class SupervisedService:
    """A service that a thread of ours looks after; see `modcore.plugins.Service`.

    `make` starts a process of `spec`, `tell` takes a line for the log. A process that ends with exit code
    0 was meant to; any other is started again, ``spec.restarts`` times in a row at most. One that has never
    been ready is not: `wait_until_ready` raises its cause.

    Nothing runs before `start`, which may be interrupted anywhere: `stop` ends what it has begun.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        make: Callable[[], Child],
        tell: Callable[[str], object],
        close: Callable[[], None],
    ) -> None:
        self.name = spec.name
        self.restarts = 0  # so far
        self._spec, self._make, self._tell, self._close = spec, make, tell, close
        self._failures = 0  # in a row
        self._stopping = threading.Event()
        # Whoever waits for these looks up now and then, and may be interrupted anywhere.
        self._ready = Latch()  # for the first time, or never
        self._ended = Latch()
        self._failure: BaseException | None = None
        self._code: int | None = None
        self._child: Child | None = None
        self._is_up = False
        self._beginning = threading.Lock()
        self._has_begun = False
        thread = threading.Thread(target=self._run, name=f"service {self.name}", daemon=True)
        self.start = thread.start

    @property
    def url(self) -> str:
        """Where it listens now; ``""`` while it is down."""
        child = self._child
        return child.url if child is not None and self._is_up else ""

    @property
    def pid(self) -> int | None:
        """The id of its process, the last one when it has ended."""
        return self._child.process.pid if self._child is not None else None

    def poll(self) -> int | None:
        """The exit code of a service that has ended for good, None before. Does not wait."""
        return self._code

    def wait(self) -> int:
        """Wait until it has ended for good; returns its exit code."""
        while not self._ended.wait(HEARTBEAT):
            pass
        return self._code if self._code is not None else 1

    def wait_until_ready(self) -> None:
        """Wait for the first process to name its URL; raises ServiceError with what it said."""
        while not self._ready.wait(HEARTBEAT):
            pass
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout: float = 10.0) -> int:
        """Ask its process to end, kill it after `timeout` seconds; returns its exit code."""
        with self._beginning:
            self._stopping.set()
            if not self._has_begun and not self._ended.is_set:  # and never will
                self._close()
                self._code = 0
                self._ended.set()
        end = time.monotonic() + timeout
        asked: Child | None = None
        while not self._ended.is_set:
            child = self._child
            if child is not None and child is not asked:  # it may be started just now
                child.send(signal.SIGTERM)
                asked = child
            if child is not None and time.monotonic() >= end:
                child.send(signal.SIGKILL)
            self._ended.wait(HEARTBEAT)
        return self.wait()

    # In the thread

    def _run(self) -> None:
        with self._beginning:
            if self._stopping.is_set():
                return
            self._has_begun = True
        try:
            self._code = self._live()
        except BaseException as error:  # what cannot be started: no memory, no descriptor
            self._failure = ServiceError(f"service {self.name} cannot be started: {error}")
            self._failure.__cause__ = error
            self._code = 1
        finally:
            self._is_up = False
            self._close()
            self._ready.set()
            self._ended.set()

    def _live(self) -> int:
        code = self._live_once()
        while code and self._ready.is_set and not self._stopping.is_set():
            if self._failures >= self._spec.restarts:
                self._tell(f"(ended with exit code {code}{self._given_up()})")
                return code
            pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
            self._failures += 1
            self._tell(
                f"(ended with exit code {code}; restart {self._failures} of {self._spec.restarts} in {pause:g} s)"
            )
            if self._stopping.wait(pause):
                return code
            self.restarts += 1
            code = self._live_once()
        return code

    def _given_up(self) -> str:
        return f"; {self._failures} restarts have failed in a row" if self._spec.restarts else ""

    def _live_once(self) -> int:
        """One process from its start to its end; returns its exit code."""
        self._child = child = self._make()
        ended = threading.Thread(target=child.wait, daemon=True)
        ended.start()
        if self._becomes_ready(child):
            self._is_up = True
            self._ready.set()
            started = time.monotonic()
            ended.join()
            self._is_up = False
            if time.monotonic() - started >= STEADY_SECONDS:
                self._failures = 0
        ended.join()
        return int(child.process.returncode)

    def _becomes_ready(self, child: Child) -> bool:
        """Wait for the URL; what is late is killed."""
        if not child.said.wait(self._spec.ready_timeout):
            child.send(signal.SIGKILL)
            self._failed(
                f"service {self.name} was not ready within {self._spec.ready_timeout:g} s; it said: {child.last_words}"
            )
            return False
        if child.url:
            return True
        self._failed(
            f"service {self.name} ended with exit code {child.process.returncode} before it was ready: {child.last_words}"
        )
        return False

    def _failed(self, sentence: str) -> None:
        if not self._ready.is_set:
            self._failure = ServiceError(sentence)
