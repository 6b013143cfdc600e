"""The `local` launcher: a service as a child process on this machine's loopback.

The child prints ``url: http://...`` once it is ready; that line is how the launcher learns where it
listens. It gets the same plugins as its parent, and ends when its parent's pipe closes.
"""

from __future__ import annotations

import collections
import os
import queue
import subprocess
import sys
import threading
from typing import IO

from modcore.deploy.parent import PARENT_PIPE
from modcore.errors import ServiceError
from modcore.plugins.records import ServiceSpec
from modcore.plugins.verdicts import ALLOW, list_plugins


class LocalService:
    """A child process; see `Service`."""

    def __init__(self, spec: ServiceSpec, process: subprocess.Popen[str]) -> None:
        self.name = spec.name
        self.url = ""
        self.process = process
        self._last_words: collections.deque[str] = collections.deque(maxlen=20)
        self._urls: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        # Read to the end: a child whose pipe is full would stand still.
        for line in stream:
            self._last_words.append(line.rstrip())
            if line.startswith("url: "):
                self._urls.put(line.removeprefix("url: ").strip())
        if stream is self.process.stdout:
            self._urls.put("")  # the child has ended, or never will say it

    def wait_until_ready(self, timeout: float) -> None:
        """Wait `timeout` seconds for the child to name its URL; raises ServiceError."""
        try:
            self.url = self._urls.get(timeout=timeout)
        except queue.Empty:
            self.stop()
            raise ServiceError(
                f"service {self.name} was not ready within {timeout:g} s; it said: {self.last_words()}"
            ) from None
        if not self.url:
            code = self._wait(timeout=5.0)
            raise ServiceError(
                f"service {self.name} ended with exit code {code} before it was ready: {self.last_words()}"
            )

    def last_words(self) -> str:
        """The last lines that the child printed."""
        return "\n".join(self._last_words) or "(nothing)"

    def stop(self, timeout: float = 10.0) -> int:
        """Ask the child to end, kill it after `timeout` seconds; returns its exit code."""
        self.process.terminate()
        return self._wait(timeout)

    def _wait(self, timeout: float) -> int:
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        for reader in self._readers:
            reader.join(1.0)
        return self.process.returncode


class LocalLauncher:
    """Starts services as children of this process."""

    def launch(self, spec: ServiceSpec) -> LocalService:
        """Start `spec` and return it when it is ready; raises ServiceError with the child's words."""
        plugins = {entry.dist for entry in list_plugins() if entry.status in ("ok", "duplicate")}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "modcore", *spec.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={
                **os.environ,
                ALLOW: ",".join(sorted(plugins)),
                PARENT_PIPE: "1",
                "PYTHONUNBUFFERED": "1",
                **spec.environment,
            },
        )
        service = LocalService(spec, process)
        try:
            service.wait_until_ready(spec.ready_timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return service
