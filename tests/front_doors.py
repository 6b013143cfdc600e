"""Front doors and services as processes, around one gateway."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from python_processes import UrlProcess

SERVICE = Path(__file__).with_name("contract_service.py")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Process(UrlProcess):
    """A front door, or a service behind one."""

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


@contextlib.contextmanager
def cluster(directory: Path, gateway: str = "") -> Iterator[Cluster]:
    made = Cluster(directory, gateway)
    try:
        yield made
    finally:
        made.stop()
