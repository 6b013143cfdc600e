"""Real server processes on loopback, and clients for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, str], float]


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


def send(server: ServerProcess, path: str, body: Any) -> socket.socket:
    """A connection on which `body` (bytes, or what becomes JSON) has been sent; nothing is read."""
    address = urlsplit(server.url)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    connection.sendall(head.encode() + data)
    return connection


def scrape(
    url: str, path: str = "/metrics", body: bytes | None = None, **headers: str
) -> tuple[int, str, str]:
    """Status, content type and text of what is at `path`."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    if body is not None:
        headers = {"content-type": "application/json", **headers}
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers["content-type"], text


def parse(text: str) -> Samples:
    """``modcore:`` samples without buckets, by suffix and finished reason."""
    return {
        (sample.name.removeprefix("modcore:"), sample.labels.get("finished_reason", "")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("modcore:") and "le" not in sample.labels
    }


def samples_of(server: ServerProcess) -> Samples:
    """The metrics of `server` now."""
    status, _, body = scrape(server.url)
    assert status == 200
    return parse(body)
