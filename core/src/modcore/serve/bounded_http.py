"""uvicorn's HTTP protocol, with bounds that it has none for: the size of a head, the time for a request.

A request's head may have 64 KiB, and come within 20 seconds; its body has 20 seconds for each MiB. Whoever is
slower is cut off, and whoever connects and says nothing.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from modcore.serve.error_body import error_body
from modcore.serve.upgrade_offers import DecliningParser

MAX_HEAD_BYTES = 64 * 1024
REQUEST_SECONDS = 20.0
#: Bytes of a body that buy another REQUEST_SECONDS.
_STEP = 1 << 20


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parser = DecliningParser(self)
        self.parser = self._parser  # type: ignore[assignment]
        self._cutter: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._is_open = False  # a request has begun and has not come whole
        self._has_head = True
        self._is_too_large = False
        self._bytes = 0  # of the head, or of the body since the time was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._set_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._unset_time()
        self._tell_gone()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """The caller has hung up: nothing is to be written any more, although the transport is still there."""
        self._tell_gone()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _tell_gone(self) -> None:
        """Uvicorn itself tells only the last request that has come, which need not be the one that runs."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Take the next bytes; cut off a head that grows too large, wait a while for what is missing."""
        super().data_received(data)
        if not self._is_open:
            self._unset_time()
            return
        self._bytes += len(data)
        if not self._has_head and self._bytes > MAX_HEAD_BYTES:
            self._refuse(431, _TOO_LARGE)
        elif self._cutter is None or (self._has_head and self._bytes > _STEP):
            self._bytes = 0 if self._has_head else self._bytes
            self._set_time()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_open, self._has_head, self._bytes = True, False, 0

    def on_headers_complete(self) -> None:
        """Its head is there."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._is_too_large = size > MAX_HEAD_BYTES
        if self._is_too_large:
            raise ValueError(_TOO_LARGE)
        self._has_head, self._bytes = True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        if not self._parser.is_at_offer():
            self._is_open = False
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, and a head that is too large."""
        if self._is_too_large:
            self._refuse(431, _TOO_LARGE)
        else:
            self._refuse(400, "This is no HTTP/1.1 request.")

    def _refuse(self, status: int, message: str) -> None:
        """Answer, if nothing else has been begun to be, and hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = json.dumps(error_body(status, message)).encode()
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _set_time(self) -> None:
        self._unset_time()
        self._cutter = self.loop.call_later(REQUEST_SECONDS, self._cut)

    def _unset_time(self) -> None:
        if self._cutter is not None:
            self._cutter.cancel()
            self._cutter = None

    def _cut(self) -> None:
        if self.flow.read_paused:  # it is we who let the caller wait
            self._set_time()
        else:
            self._refuse(408, f"The request took longer than {REQUEST_SECONDS:g} seconds to come.")


_TOO_LARGE = f"The headers are larger than {MAX_HEAD_BYTES} bytes; send fewer."
