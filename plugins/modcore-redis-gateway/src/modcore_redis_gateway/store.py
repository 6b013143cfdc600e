"""The Redis that holds the keys, wherever it is now: it is looked for when it moves or is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import exceptions

from modcore.gateway.base import GatewayError
from modcore.gateway.forks import renew_after_fork
from modcore_redis_gateway.connections import PATIENCE, Connections
from modcore_redis_gateway.locate import Locator
from modcore_redis_gateway.safety import verify_guarded
from modcore_redis_gateway.scripts import Script
from modcore_redis_gateway.trouble import told
from modcore_redis_gateway.url import SERVER, RedisUrl

_T = TypeVar("_T")
OLDEST = (6, 2)


class Store:
    """Runs scripts and commands where `key` is. Nothing is tried twice but what surely has not run."""

    def __init__(self, url: RedisUrl, key: str) -> None:
        self._url = url
        self._locator = Locator(url, key)
        self._lock = threading.Lock()
        self._current: Connections | None = None
        renew_after_fork(self)

    def run(self, script: Script, keys: Sequence[str], *arguments: Any) -> Any:
        """What `script` returns."""
        words = (len(keys), *keys, *arguments)

        def call(server: Connections) -> Any:
            try:
                return server.execute("EVALSHA", script.digest, *words)
            except exceptions.NoScriptError:
                return server.execute("EVAL", script.source, *words)

        return self._at_server(call)

    def execute(self, *words: Any) -> Any:
        """The answer to a command."""
        return self._at_server(lambda server: server.execute(*words))

    def execute_waiting(self, patience: float, *words: Any) -> Any:
        """The answer to a command that may wait for `patience` seconds."""
        return self._at_server(lambda server: server.execute_waiting(patience, *words))

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            self._drop(self._current)

    def after_fork(self) -> None:
        """A child has connections of its own; those of its parent may be in the middle of an answer."""
        self._lock = threading.Lock()
        self._current = None

    def _at_server(self, call: Callable[[Connections], _T]) -> _T:
        """What `call` makes of the server; once more where another has taken its place, and it has not run."""
        try:
            try:
                return self._attempt(call)
            except (exceptions.MovedError, exceptions.ReadOnlyError):
                if self._url.kind == SERVER:
                    raise
                return self._attempt(call)
        except (exceptions.RedisError, OSError) as error:
            raise told(error, self._url) from error

    def _attempt(self, call: Callable[[Connections], _T]) -> _T:
        server = self._server()
        try:
            self._verify(server)
            return call(server)
        except (exceptions.RedisError, OSError) as error:
            if self._url.kind != SERVER and _has_moved(error):
                self._leave(server)
            raise

    def _server(self) -> Connections:
        if not self._lock.acquire(timeout=PATIENCE):
            raise exceptions.ConnectionError("the server is being looked for")
        try:
            if self._current is None:
                address = self._locator.locate()
                verify_guarded(self._url, address)
                self._current = Connections(address, self._url)
            return self._current
        finally:
            self._lock.release()

    def _leave(self, server: Connections) -> None:
        with self._lock:
            if self._current is server:
                self._drop(server)

    def _drop(self, server: Connections | None) -> None:
        if server is not None:
            server.close()
        self._current = None

    def _verify(self, server: Connections) -> None:
        """Once for each server: that it is a Redis that can do what the scripts ask of it."""
        if server.verified:
            return
        try:
            facts = _facts(server.execute("INFO", "server"))
        except exceptions.NoPermissionError:
            facts = {}  # then it has users of its own, which 5 has not
        if facts.get("redis_mode") == "sentinel":
            raise GatewayError(f"At {server.address} is a Sentinel; use redis+sentinel://.")
        version = facts.get("redis_version", "")
        if version and _numbers(version) < OLDEST:
            raise GatewayError(
                f"The Redis at {server.address} is version {version}; a gateway needs "
                f"{'.'.join(map(str, OLDEST))} or newer, or Valkey."
            )
        server.verified = True


def _has_moved(error: Exception) -> bool:
    """Whether the server may no longer be the one to talk to."""
    if isinstance(error, (exceptions.MovedError, exceptions.ReadOnlyError)):
        return True
    return not isinstance(error, exceptions.ResponseError) or str(error).startswith(
        ("UNBLOCKED", "MASTERDOWN")
    )


def _facts(text: bytes) -> dict[str, str]:
    """The fields of INFO."""
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
