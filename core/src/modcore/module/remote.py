"""Calling a module in another process: JSON over HTTP, errors as themselves.

The service's side is `modcore.serve.module_app`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from modcore.errors import ModcoreError, ServiceError

_CONNECTIONS: dict[str, type[http.client.HTTPConnection]] = {
    "http": http.client.HTTPConnection,
    "https": http.client.HTTPSConnection,
}

#: What a connection raises that the other side closed while nothing was under way.
_STALE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


class RemoteError(ModcoreError):
    """An error of a type that only the other side knows; ``type_name`` is its name."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name, self.message = type_name, message

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str]]:
        return RemoteError, (self.type_name, self.message)


class RemoteModule:
    """A service at `url`; every thread keeps a connection of its own, every stream has one.

    A certificate behind ``https`` has to be one that this machine trusts (``SSL_CERT_FILE``).
    """

    def __init__(self, url: str, token: str | None = None, timeout: float | None = None) -> None:
        address = urlsplit(url if isinstance(url, str) else "")
        if address.scheme not in _CONNECTIONS or not address.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL of a service.")
        self.url = url.rstrip("/")
        self._connection = _CONNECTIONS[address.scheme]
        self._host = address.hostname
        self._port = address.port or self._connection.default_port
        self._path = address.path.rstrip("/")
        self._token, self._timeout = token, timeout
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[RemoteModule], tuple[str, str | None, float | None]]:
        return RemoteModule, (self.url, self._token, self._timeout)  # connections stay here

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of one call; raises what the other side raised."""
        body = encoded({"args": args, "kwargs": kwargs})
        kept = getattr(self._local, "connection", None)
        try:
            answer = self._answer(kept or self._connect(), body)
        except _STALE as error:
            if kept is None:
                raise self._gone(error) from error
            # The other side has closed an idle connection before it got our request.
            answer = self._retry(body)
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error
        if "error" in answer:
            raise _error(answer["error"])
        return answer["result"]

    def stream(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        """The pieces of one call as they are made; closing the iterator ends the call."""
        body = encoded({"args": args, "kwargs": kwargs})
        connection = self._connect()
        try:
            yield from self._events(self._post(connection, "/stream", body))
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error
        finally:
            connection.close()

    def _retry(self, body: bytes) -> dict[str, Any]:
        try:
            return self._answer(self._connect(), body)
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error

    def _answer(self, connection: http.client.HTTPConnection, body: bytes) -> dict[str, Any]:
        """One exchange; the connection is kept only if it went through to the end."""
        self._local.connection = None
        try:
            answer = _json(self._post(connection, "/call", body).read(), self.url)
        except BaseException:
            connection.close()
            raise
        self._local.connection = connection
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        return self._connection(self._host, self._port, timeout=self._timeout)

    def _post(
        self, connection: http.client.HTTPConnection, path: str, body: bytes
    ) -> http.client.HTTPResponse:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        connection.request("POST", f"{self._path}{path}", body, headers)
        return connection.getresponse()

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

    def _gone(self, error: Exception) -> ServiceError:
        if isinstance(error, TimeoutError) and self._timeout is not None:
            return ServiceError(
                f"{self.url} did not answer within {self._timeout:g} s; give it more with "
                f"UrlModule({self.url!r}, timeout=...), or leave timeout out to wait as long as it takes."
            )
        return ServiceError(f"{self.url} does not answer ({error}); start it again.")


def encoded(value: dict[str, Any]) -> bytes:
    """`value` as JSON; raises TypeError for what JSON cannot hold, keys that are no texts included."""
    try:
        _verify_keys(value)
        return json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"this cannot travel as JSON: {error}.") from None


def _verify_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} of a dict is no text")
            _verify_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _verify_keys(item)


def _json(text: bytes, url: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServiceError(f"{url} answers what no module service answers: {text[:80]!r}")
    return value


def _error(described: dict[str, Any]) -> Exception:
    """The error that was raised over there: as itself where its class is known here."""
    name, message = str(described.get("type")), str(described.get("message"))
    kind = _class_of(str(described.get("module")), name)
    error: Exception = RemoteError(name, message)
    with contextlib.suppress(Exception):  # not every exception can be made of one message
        if members := described.get("exceptions"):
            error = ExceptionGroup(message, [_error(member) for member in members])
        elif kind is not None:
            error = kind(message)
    if traceback := described.get("traceback"):
        error.add_note(f"in the service:\n{traceback}")
    return error


def _class_of(module: str, name: str) -> type[Exception] | None:
    """An exception class that is loaded here already; nothing is imported because a service names it."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None
