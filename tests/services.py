"""Real service processes on loopback, and how tests speak to them."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any

from modcore.module.remote import RemoteModule
from python_processes import UrlProcess
from service_modules import TOKEN

KEY = {"authorization": f"Bearer {TOKEN}"}
SCRIPT = Path(__file__).with_name("service_modules.py")
JSON = {"content-type": "application/json", **KEY}


class ServiceProcess(UrlProcess):
    """A process that serves the module `name` of `service_modules`."""

    def __init__(self, name: str, environment: dict[str, str], options: dict[str, Any]) -> None:
        super().__init__([str(SCRIPT), name, json.dumps(options)], environment)
        self.remote = RemoteModule(self.url, TOKEN)

    def __call__(self, *args: Any) -> Any:
        return self.remote.call(args, {})

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request; with the token unless `headers` say otherwise."""
        connection = self.connect()
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

    def open_socket(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def send(self, path: str, *args: Any) -> socket.socket:
        """A connection on which a call has been sent; nothing is read."""
        body = json.dumps({"args": args}).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        connection = self.open_socket()
        connection.sendall(head.encode() + body)
        return connection

    def metric(self, name: str) -> float:
        text = self.ask("GET", "/metrics")[2].decode()
        values = re.findall(rf"^modcore:{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M)
        return sum(map(float, values))

    def stop(self, number: int = signal.SIGTERM) -> int:
        try:
            return super().stop(number)
        finally:
            self.remote.close()


def service(
    module: str, /, environment: dict[str, str] | None = None, **options: Any
) -> ServiceProcess:
    """To be used as a context manager, which ends it."""
    return ServiceProcess(module, environment or {}, options)
