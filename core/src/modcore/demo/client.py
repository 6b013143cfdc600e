"""Asking the demonstration's server over HTTP, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from modcore.errors import ServiceError


def complete(url: str, prompts: list[str], max_tokens: int) -> list[str]:
    """The likeliest next line of each prompt, asked for in one request."""
    body = {"prompt": prompts, "max_tokens": max_tokens, "temperature": 0, "stop": "\n"}
    with _post(url, body) as response:
        choices = json.load(response)["choices"]
    return [choice["text"] for choice in sorted(choices, key=lambda choice: choice["index"])]


def stream(url: str, prompt: str, max_tokens: int) -> Iterator[str]:
    """The likeliest continuation of `prompt`, piece by piece as the server sends it."""
    body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
    with _post(url, body) as response:
        for line in response:
            data = line.decode().removeprefix("data: ").strip()
            if data and data != "[DONE]":
                yield from (choice["text"] for choice in json.loads(data)["choices"])


def _post(url: str, body: dict[str, Any]) -> http.client.HTTPResponse:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {"content-type": "application/json", "connection": "close"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise ServiceError(f"{url} answered {response.status}: {response.read(500).decode()}")
    return response
