"""A service on Ray, as the launcher hands it out: what its actor tells is kept here, so nothing has to be asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from modcore.errors import ServiceError
from modcore.flow.interrupts import HEARTBEAT, Latch
from modcore.plugins import ServiceSpec
from modcore_ray.actor import State
from modcore_ray.connection import Connection

_NEWS_SECONDS = 10.0  # an actor answers after that long though nothing is new
_SILENCE_SECONDS = 30.0
_GRACE_SECONDS = 10.0  # for what takes its time beside the service itself
_KILLED = -9  # the exit code of what was ended without being asked


class RayService:
    """See `modcore.plugins.Service`. A thread follows the actor: `url` is another after each restart.

    It holds `connection`, which it gives back when it has ended.
    """

    def __init__(self, spec: ServiceSpec, actor: Any, connection: Connection) -> None:
        self.name = spec.name
        self._actor, self._connection = actor, connection
        self._timeout = spec.ready_timeout
        self._state = State()
        self._restarts = 0  # of actors before this one, and of what they have started
        self._code: int | None = None
        self._ready, self._ended = Latch(), Latch()  # ready, or never
        self._log: list[str] = []
        threading.Thread(target=self._watch, name=f"service {spec.name}", daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens now; ``""`` while it is down."""
        return self._state.url if self._code is None else ""

    @property
    def pid(self) -> int | None:
        """The id of its process, on its node."""
        return self._state.pid

    @property
    def node(self) -> str:
        """The address of the node where it runs."""
        return self._state.node

    @property
    def restarts(self) -> int:
        """How often it was started again: its process by its actor, or its actor by Ray."""
        return self._restarts + self._state.restarts

    def poll(self) -> int | None:
        """The exit code of a service that has ended for good, None before. Does not wait."""
        return self._code if self._ended.is_set else None

    def wait(self) -> int:
        """Wait until it has ended for good; returns its exit code."""
        while not self._ended.wait(HEARTBEAT):
            pass
        return _KILLED if self._code is None else self._code

    def wait_until_ready(self) -> None:
        """Wait until it listens; raises ServiceError with what it said when it does not."""
        end = time.monotonic() + self._timeout + _GRACE_SECONDS
        while not self._ready.wait(HEARTBEAT):
            if time.monotonic() >= end:
                raise ServiceError(
                    f"service {self.name} was not ready within {self._timeout:g} s, and its actor on Ray "
                    "says nothing; its node may hang."
                )
        if not self._state.url:
            raise ServiceError(
                self._state.failure or f"service {self.name} ended before it was ready."
            )

    def stop(self, timeout: float = 10.0) -> int:
        """End it; its node gets `timeout` seconds before it is killed. Returns its exit code."""
        with self._borrowed_actor() as actor:
            is_placed = self._state.node != ""  # else nobody is there to answer
            if actor is not None and is_placed and self._stops(actor, timeout):
                self._wait_for_end(_GRACE_SECONDS)
            self._kill()
        return self.wait()

    def logs(self, count: int = 100) -> list[str]:
        """The last lines of its log; none when its node cannot be asked."""
        import ray

        with self._borrowed_actor() as actor:
            if actor is not None:
                with contextlib.suppress(ray.exceptions.RayError):
                    self._log = ray.get(actor.logs.remote(count), timeout=_SILENCE_SECONDS)
        return self._log[-count:]

    def end_at_exit(self) -> None:
        """Kill it; its process ends with its actor."""
        with self._connection.borrowed() as is_there:
            if is_there:
                self._kill()

    def _stops(self, actor: Any, timeout: float) -> bool:
        """Ask the actor to end its service; whether it does."""
        import ray

        answer = actor.stop.remote(timeout)
        end = time.monotonic() + timeout + _GRACE_SECONDS
        while not ray.wait([answer], timeout=HEARTBEAT)[0]:
            if time.monotonic() >= end or self._ended.is_set:
                return self._ended.is_set
        try:
            return bool(ray.get(answer))
        except ray.exceptions.RayError:
            return False

    def _wait_for_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ended.wait(HEARTBEAT) and time.monotonic() < end:
            pass

    def _kill(self) -> None:
        import ray

        if not self._ended.is_set:
            ray.kill(self._actor, no_restart=True)

    @contextlib.contextmanager
    def _borrowed_actor(self) -> Iterator[Any | None]:
        with self._connection.borrowed() as is_there:
            yield self._actor if is_there and not self._ended.is_set else None

    # In the thread

    def _watch(self) -> None:
        code = _KILLED
        try:
            code = self._follow()
        finally:
            self._code = code
            with contextlib.suppress(Exception):  # it is gone already, or Ray is
                self._kill()
            self._connection.release()
            self._ready.set()
            self._ended.set()

    def _follow(self) -> int:
        """Keep the state true; returns the exit code when it has ended for good."""
        while self._state.code is None:
            state = self._asked()
            if state is None:
                return _KILLED
            if self._state.actor not in ("", state.actor):
                self._restarts += self._state.restarts + 1
            self._state = state
            if state.url or state.code is not None:
                self._ready.set()
        return self._state.code

    def _asked(self) -> State | None:
        """What is new; None when the actor is no more."""
        import ray

        try:
            news = self._actor.changed.remote(asdict(self._state), _NEWS_SECONDS)
            return State(**ray.get(news, timeout=_SILENCE_SECONDS))
        except ray.exceptions.ActorUnavailableError:  # Ray starts it again
            time.sleep(HEARTBEAT)
            return None if self._connection.is_lost() else replace(self._state, url="")
        except ray.exceptions.GetTimeoutError:
            return None if self._connection.is_lost() else self._state
        except ray.exceptions.RayError:
            return None
