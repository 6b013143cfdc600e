"""Real server processes on loopback, and clients for them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import openai


class ServerProcess:
    """A running `modcore serve`."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modcore", "serve", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout and self.process.stderr
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        self.url = ""
        for line in self.process.stdout:
            if line.startswith("url: "):
                self.url = line.removeprefix("url: ").strip()
                return
        self.process.wait()
        self._reader.join()
        raise AssertionError(f"the server ended: {''.join(self.errors)}")

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors.extend(self.process.stderr)

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def serving(*words: str, **environment: str) -> Iterator[ServerProcess]:
    server = ServerProcess([*words, "--port", "0"], environment)
    try:
        yield server
    finally:
        server.stop()
