"""Real service processes on loopback, and how tests speak to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modcore.module.remote import RemoteModule
from service_modules import TOKEN

KEY = {"authorization": f"Bearer {TOKEN}"}
JSON = {"content-type": "application/json", **KEY}


class ServiceProcess:
    """A process that serves the module `name` of `service_modules`."""

    def __init__(self, name: str, environment: dict[str, str], options: dict[str, Any]) -> None:
        script = Path(__file__).with_name("service_modules.py")
        self.process = subprocess.Popen(
            [sys.executable, script, name, json.dumps(options)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        address = urlsplit(self.url)
        self.place = (str(address.hostname), int(address.port or 0))
        self.remote = RemoteModule(self.url, TOKEN)

    def __call__(self, *args: Any) -> Any:
        return self.remote.call(args, {})

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request; with the token unless `headers` say otherwise."""
        connection = http.client.HTTPConnection(*self.place, timeout=30)
        given = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, path, body, {k: v for k, v in given.items() if v})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content

    def error(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """Status and error of a request that is refused."""
        status, _, content = self.ask(method, path, body, **headers)
        return status, json.loads(content)["error"]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.place, timeout=30)

    def send(self, path: str, *args: Any) -> socket.socket:
        """A connection on which a call has been sent; nothing is read."""
        body = json.dumps({"args": args}).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        connection = self.connect()
        connection.sendall(head.encode() + body)
        return connection

    def metric(self, name: str) -> float:
        text = self.ask("GET", "/metrics")[2].decode()
        values = re.findall(rf"^modcore:{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M)
        return sum(map(float, values))

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        self.signal()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()
            self.remote.close()


@contextlib.contextmanager
def service(
    module: str, /, environment: dict[str, str] | None = None, **options: Any
) -> Iterator[ServiceProcess]:
    running = ServiceProcess(module, environment or {}, options)
    try:
        yield running
    finally:
        running.stop()


def wait_until(is_so: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it has not come to be"
        time.sleep(0.01)
