"""Front doors and services as processes, around one gateway."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

SERVICE = Path(__file__).with_name("contract_service.py")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Process:
    """A process that prints ``url: URL ...`` once it is ready."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout and self.process.stderr
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        for line in self.process.stdout:
            if line.startswith("url: "):
                self.url, *rest = line.removeprefix("url: ").split()
                self.id = rest[0] if rest else ""
                return
        self.process.wait()
        self._reader.join()
        raise AssertionError(f"the process ended: {''.join(self.errors)}")

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors.extend(self.process.stderr)

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        return http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout)

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own; underscores in names of headers are hyphens."""
        with contextlib.closing(self.connect()) as connection:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            if data is not None:
                fields = {"content-type": "application/json", **fields}
            connection.request("GET" if data is None else "POST", path, data, fields)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())

    def call(self, service: str, *args: Any, **headers: str) -> Answer:
        return self.ask(f"/call/{service}", {"args": args, "kwargs": {}}, **headers)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample, 0 when there is none."""
        text = self.ask("/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0

    def instances(self, service: str) -> list[dict[str, Any]]:
        """What ``GET /services`` says of `service`."""
        for each in self.ask("/services").json["services"]:
            if each["service"] == service:
                return list(each["instances"])
        return []


class Cluster:
    """Processes around one gateway, in `directory` unless there is a URL; all end with it."""

    def __init__(self, directory: Path, gateway: str = "") -> None:
        self.gateway = gateway or f"sqlite:///{directory / 'services.db'}"
        self.environment = {
            "MODCORE_STATE_DIR": str(directory / "state"),
            "MODCORE_GATEWAY_TTL": "1.5",
            "MODCORE_CLUSTER_KEY": secrets.token_urlsafe(32),
        }
        self._processes: list[Process] = []

    def service(self, name: str, *words: str, **environment: str) -> Process:
        return self._start([str(SERVICE), self.gateway, name, *words], environment)

    def front_door(self, *words: str, **environment: str) -> Process:
        command = ["-m", "modcore", "gateway", "--gateway", self.gateway, "--port", "0", *words]
        return self._start(command, environment)

    def model(self, checkpoint: Path, *words: str, **environment: str) -> Process:
        command = ["-m", "modcore", "serve", str(checkpoint), "--gateway", self.gateway]
        return self._start([*command, "--port", "0", *words], environment)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.stop(signal.SIGKILL)

    def _start(self, words: list[str], environment: dict[str, str]) -> Process:
        process = Process(words, {**self.environment, **environment})
        self._processes.append(process)
        return process


def eventually(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"it did not become so within {seconds} s"
        time.sleep(0.02)
    return value


@contextlib.contextmanager
def cluster(directory: Path, gateway: str = "") -> Iterator[Cluster]:
    made = Cluster(directory, gateway)
    try:
        yield made
    finally:
        made.stop()
