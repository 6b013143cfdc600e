"""Processes of this Python that tests start: what they say is kept, and they end with their block."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit


class PythonProcess:
    """``python WORDS`` with more in its environment; `errors` has the lines of its stderr."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout
        self.stdout = self.process.stdout
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after that signal; it is killed when it takes too long."""
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(2)  # what it has started may hold its stderr for longer
            self.stdout.close()

    def _read_errors(self) -> None:
        assert self.process.stderr
        with self.process.stderr:
            self.errors.extend(self.process.stderr)


class UrlProcess(PythonProcess):
    """One that says ``url: URL`` once it is ready, and perhaps an id behind it."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        super().__init__(words, environment)
        try:
            said = next((line for line in self.stdout if line.startswith("url: ")), "")
            assert said, "the process ended"
        except BaseException as error:
            super().stop(signal.SIGKILL)
            error.add_note("".join(self.errors))
            raise
        self.url, _, self.id = said.removeprefix("url: ").strip().partition(" ")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        address = urlsplit(self.url)
        return address.hostname or "", address.port or 0

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        """A connection of its own to it."""
        return http.client.HTTPConnection(*self.address, timeout=timeout)
