"""A connection to an instance: requests one after the other, answers as they come.

Written on asyncio's protocols and httptools' parser, which uvicorn uses as well: with aiohttp's client a call
through the front door took a third longer, with httpx's more than twice as long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

MAX_HEAD = 64 * 1024  # bytes that come before the headers of an answer are complete
HIGH_WATER = 256 * 1024  # bytes of an answer that nobody has taken yet

#: Header fields as ASGI has them.
Fields = list[tuple[bytes, bytes]]


class Broken(Exception):
    """The other side has ended the connection, or speaks no HTTP, before its answer was complete.

    `answered` says whether a byte of the answer had come.
    """

    def __init__(self, reason: str, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class Connection(asyncio.Protocol):
    """One connection; one answer at a time is read from it, and held back when nobody takes it."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: Fields = []
        self.is_complete = True  # no answer is awaited
        self.is_sent = True  # the request, to its end
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._received = 0  # of the answer, while its headers are not complete
        self._has_head = False
        self._keeps_alive = True
        self._lost = ""
        self._waiter: asyncio.Future[None] | None = None
        self._can_write: asyncio.Future[None] | None = None

    # What a caller does.

    @property
    def is_reusable(self) -> bool:
        """Whether the next request may go this way."""
        return self.is_complete and self.is_sent and self._keeps_alive and not self._lost

    @property
    def has_head(self) -> bool:
        """Whether status and header fields of the answer are there."""
        return self._has_head

    def begin(self, data: bytes) -> None:
        """Send a request, or its beginning; `is_sent` is to be set when all of it is."""
        self.status, self.fields = 0, []
        self.is_complete = self.is_sent = self._has_head = False
        self._received = self._held = 0
        self._pieces.clear()
        self._write(data)

    async def write(self, data: bytes) -> None:
        """Send more of a request's body, as fast as the other side takes it."""
        self._write(data)
        if self._can_write is not None:
            await self._can_write

    async def head(self) -> None:
        """Wait for the status and the header fields; raises Broken."""
        while not self._has_head:
            await self._wait()

    async def read(self) -> bytes:
        """What has come of the body, ``b""`` at its end; raises Broken."""
        while not self._pieces:
            if self.is_complete:
                return b""
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._held > HIGH_WATER and self._transport is not None:
            self._transport.resume_reading()
        self._held = 0
        return data

    def abort(self) -> None:
        """End the connection now: the other side sees that nobody waits any more."""
        self._keeps_alive = False
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._lost or self._transport is None:
            raise Broken(self._lost, False)
        self._transport.write(data)

    async def _wait(self) -> None:
        if self._lost:
            raise Broken(self._lost, self._received > 0 or self._has_head)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._parser is None or self.is_complete:
            self._fail("it speaks without being asked")
            return
        if not self._has_head:
            self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("what it answers is no HTTP")
            return
        if not self._has_head and self._received > MAX_HEAD:
            self._fail(f"the headers of its answer are larger than {MAX_HEAD} bytes")
        if self._held > HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self._lost = self._lost or (str(error) if error else "it has closed the connection")
        self._parser = self._transport = None
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._can_write = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None

    def _fail(self, reason: str) -> None:
        self._lost = self._lost or reason
        self.abort()
        self._wake()

    # What the parser says.

    def on_status(self, status: bytes) -> None:
        """Called by the parser: an answer begins, the announcement of one included."""
        self.fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        assert self._parser
        self.status = self._parser.get_status_code()
        self._keeps_alive = self._parser.should_keep_alive()
        self._has_head = self.status >= 200

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._pieces.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.is_complete = self._has_head
