"""Real server processes on loopback, and clients for them."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import openai
from prometheus_client.parser import text_string_to_metric_families

from python_processes import UrlProcess

Samples = dict[tuple[str, str], float]


class ServerProcess(UrlProcess):
    """A running `modcore serve`."""

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)


def serving(*words: str, **environment: str) -> ServerProcess:
    """To be used as a context manager, which ends it."""
    return ServerProcess(["-m", "modcore", "serve", *words, "--port", "0"], environment)


def send(server: ServerProcess, path: str, body: Any) -> socket.socket:
    """A connection on which `body` (bytes, or what becomes JSON) has been sent; nothing is read."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection(server.address, timeout=60)
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
