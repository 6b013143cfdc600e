"""Calling a module in another process: JSON over HTTP, errors as themselves.

The service's side is `modcore.serve.module_app`.
"""

from __future__ import annotations

import builtins
import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from modcore.errors import ModcoreError, ServiceError


class RemoteError(ModcoreError):
    """An error of a type that only the other side knows; ``type_name`` is its name."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name


class RemoteModule:
    """A service at `url`; every thread keeps a connection of its own."""

    def __init__(self, url: str, token: str | None = None, timeout: float | None = None) -> None:
        address = urlsplit(url)
        if address.scheme != "http" or not address.hostname:
            raise ValueError(f"{url!r} is no http:// URL of a service.")
        self.url = url.rstrip("/")
        self._host, self._port = address.hostname, address.port or 80
        self._path = address.path.rstrip("/")
        self._token, self._timeout = token, timeout
        self._local = threading.local()

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of one call; raises what the other side raised."""
        response = self._post("/call", args, kwargs)
        answer = _json(response.read(), self.url)
        if "error" in answer:
            raise _error(answer["error"])
        return answer["result"]

    def stream(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        """The pieces of one call as they are made; closing the iterator ends the call."""
        response = self._post("/stream", args, kwargs)
        try:
            yield from self._events(response)
        finally:
            self._forget()  # what is left unread must not be taken for the next answer

    def _events(self, response: http.client.HTTPResponse) -> Iterator[Any]:
        for line in response:
            if not line.startswith(b"data: "):
                continue
            event = _json(line.removeprefix(b"data: "), self.url)
            if "error" in event:
                raise _error(event["error"])
            if event.get("done"):
                return
            yield event["piece"]
        raise ServiceError(f"{self.url} ended its answer in the middle.")

    def _post(
        self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> http.client.HTTPResponse:
        body = _encoded(args, kwargs)
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        fresh = not hasattr(self._local, "connection")
        try:
            return self._send(path, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self._forget()
            if fresh:
                raise self._gone(error) from error
        except OSError as error:
            self._forget()
            raise self._gone(error) from error
        # An idle connection may have been closed by the other side before it got our request.
        try:
            return self._send(path, body, headers)
        except OSError as error:
            self._forget()
            raise self._gone(error) from error

    def _send(self, path: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(
                self._host, self._port, timeout=self._timeout
            )
        connection: http.client.HTTPConnection = self._local.connection
        connection.request("POST", f"{self._path}{path}", body, headers)
        return connection.getresponse()

    def _forget(self) -> None:
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _gone(self, error: OSError) -> ServiceError:
        return ServiceError(f"{self.url} does not answer ({error}); start it again.")


def _encoded(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    try:
        return json.dumps({"args": args, "kwargs": kwargs}, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(f"these arguments cannot travel as JSON: {error}.") from None


def _json(text: bytes, url: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServiceError(f"{url} answers what no module service answers: {text[:80]!r}")
    return value


def _error(described: dict[str, Any]) -> BaseException:
    """The error that was raised over there: built-in exceptions as themselves."""
    name, message = str(described.get("type")), str(described.get("message"))
    kind = getattr(builtins, name, None)
    error: BaseException = RemoteError(name, message)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):  # not every exception can be made of one message
            error = kind(message)
    if traceback := described.get("traceback"):
        error.add_note(f"in the service:\n{traceback}")
    return error
