"""HTTP/1.1 over asyncio's streams: as little as a measurement needs, with every size bounded.

A client library's cost for each chunk would be measured along with the server, which has to share
the machine's cores with it. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit

from modcore._version import VERSION
from modcore.errors import InvalidRequest, ServiceError

MAX_LINE = 1 << 20
MAX_HEADERS = 256
MAX_BODY = 64 << 20


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is; `path` is what stands before ``/v1``."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """The address in `url`; raises InvalidRequest, without repeating what may be a secret."""
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode()
        except ValueError:
            raise InvalidRequest("TARGET is no URL; give one as http://127.0.0.1:8000.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise InvalidRequest("TARGET is no http:// or https:// URL with a host.")
        if parts.username is not None or parts.query or parts.fragment:
            raise InvalidRequest(
                "TARGET holds more than an address; leave out user, query and fragment, "
                "and name the key's variable with --api-key-env."
            )
        secure = parts.scheme == "https"
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~").rstrip("/").removesuffix("/v1")
        if port is None:
            port = 443 if secure else 80
        return cls(secure, host, port, path)

    @property
    def authority(self) -> str:
        """Host and port, as the header names them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"http{'s' * self.secure}://{self.authority}{self.path}"


class Response:
    """An answer whose body is still to be read, once."""

    def __init__(self, reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers = status, headers
        self._reader = reader
        self._size = 0

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """The body, or its first `limit` bytes."""
        body = bytearray()
        async for part in self._parts():
            body += part
            if len(body) >= limit:
                break
        return bytes(body[:limit])

    async def lines(self) -> AsyncGenerator[bytes]:
        """The body's lines as they come, without their ends."""
        buffer = bytearray()
        async for part in self._parts():
            unseen = len(buffer)
            buffer += part
            while (end := buffer.find(b"\n", unseen)) >= 0:
                yield bytes(buffer[:end]).rstrip(b"\r")
                del buffer[: end + 1]
                unseen = 0
            if len(buffer) > MAX_LINE:
                raise ServiceError(f"The server sent a line of more than {MAX_LINE} bytes.")
        if buffer:
            yield bytes(buffer)

    async def _parts(self) -> AsyncGenerator[bytes]:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = self._chunks()
        else:
            parts = self._plain(self.headers.get("content-length"))
        async for part in parts:
            self._size += len(part)
            if self._size > MAX_BODY:
                raise ServiceError(f"The server's answer is larger than {MAX_BODY} bytes.")
            yield part

    async def _chunks(self) -> AsyncGenerator[bytes]:
        while size := _number(await _line(self._reader), 16):
            yield await self._reader.readexactly(size)
            await _line(self._reader)
        while await _line(self._reader):
            pass  # trailers

    async def _plain(self, length: str | None) -> AsyncGenerator[bytes]:
        left = None if length is None else _number(length.encode(), 10)
        while left != 0:
            part = await self._reader.read(min(left or 1 << 16, 1 << 16))
            if not part:
                if left:
                    raise asyncio.IncompleteReadError(b"", left)
                return
            left = None if left is None else left - len(part)
            yield part


def reason_of(error: OSError) -> str:
    """Why there is no connection, in the system's words; asyncio's own repeat the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


@asynccontextmanager
async def exchange(
    address: Address,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    on_connect: Callable[[], None] = lambda: None,
) -> AsyncIterator[Response]:
    """Send one request on a connection of its own; redirects are answers as any other.

    `on_connect` is called when there is a connection and the request is about to be sent. Raises
    ServiceError, or OSError, when there is no answer.
    """
    tls = ssl.create_default_context() if address.secure else None
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=tls, limit=MAX_LINE
    )
    try:
        on_connect()
        writer.write(_head(address, method, path, headers, len(body)) + body)
        await writer.drain()
        try:
            yield await _response(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ServiceError(
                f"{address} closed the connection in the middle of an answer."
            ) from None
    finally:
        writer.transport.abort()  # nothing more is to be said, and a dead server must not hold us


def _head(
    address: Address, method: str, path: str, headers: Mapping[str, str], length: int
) -> bytes:
    fields = {
        "host": address.authority,
        "user-agent": f"modcore/{VERSION}",
        "connection": "close",
        "content-length": str(length),
        **headers,
    }
    lines = [f"{method} {address.path}{path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _response(reader: asyncio.StreamReader) -> Response:
    status = 100
    while 100 <= status < 200:  # announcements come before the answer
        version, _, rest = (await _line(reader)).partition(b" ")
        if not version.startswith(b"HTTP/1."):
            raise ServiceError("What answers there speaks no HTTP/1.1.")
        status = _number(rest[:3], 10)
        headers: dict[str, str] = {}
        while line := await _line(reader):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
            if len(headers) > MAX_HEADERS:
                raise ServiceError(f"The server sent more than {MAX_HEADERS} headers.")
    return Response(reader, status, headers)


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\n")).rstrip(b"\r\n")
    except asyncio.LimitOverrunError:
        raise ServiceError(f"The server sent a line of more than {MAX_LINE} bytes.") from None


def _number(text: bytes, base: int) -> int:
    digits = text.partition(b";")[0].strip()
    try:
        if digits[:1] in (b"+", b"-") or b"_" in digits or len(digits) > 16:
            raise ValueError
        return int(digits, base)
    except ValueError:
        raise ServiceError("What answers there speaks no proper HTTP.") from None
