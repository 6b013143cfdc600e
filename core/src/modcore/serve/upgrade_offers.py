"""httptools' parser, which reads a request to its end although the client offers another protocol.

Java's ``HttpClient`` offers HTTP/2 with its first request (``Upgrade: h2c``), be it a POST. A server may go on in
HTTP/1.1 (RFC 9110, section 7.8), but httptools takes every offer for accepted, and reads no body behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools

#: What says how long a body is.
_LENGTHS = (b"content-length", b"transfer-encoding")


class DecliningParser:
    """Tells `protocol`, which keeps the headers of a request in ``headers``, what comes; see httptools.

    Where there is an offer, `protocol` hears behind the head already that the request is complete: it has to
    ask `is_at_offer` then.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._use(protocol)

    def feed_data(self, data: bytes) -> None:
        """Take the next bytes; raises httptools.HttpParserError."""
        rest = memoryview(data)
        while True:
            try:
                self._feed(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                self._go_on_behind_the_head()
                rest = rest[offer.args[0] :]

    def should_upgrade(self) -> bool:
        """No: nothing but HTTP/1.1 is spoken here."""
        return False

    def _go_on_behind_the_head(self) -> None:
        """Another parser takes over, which learns of the head only how long the body is."""
        headers = self._protocol.headers
        lengths = b"".join(b"%b: %b\r\n" % each for each in headers if each[0] in _LENGTHS)
        behind = _Behind(self._protocol)
        self._use(behind)
        self._feed(b"POST / HTTP/1.1\r\n" + lengths + b"\r\n")
        behind.knows_head = False

    def _use(self, target: Any) -> None:
        parser = httptools.HttpRequestParser(target)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._feed = parser.feed_data
        self.is_at_offer = parser.should_upgrade
        self.get_http_version = parser.get_http_version
        self.get_method = parser.get_method
        self.should_keep_alive = parser.should_keep_alive


class _Behind:
    """`protocol`, which knows the head that its parser is told."""

    def __init__(self, protocol: Any) -> None:
        self.knows_head = True
        self.on_message_begin = self._new(protocol.on_message_begin)
        self.on_url = self._new(protocol.on_url)
        self.on_header = self._new(protocol.on_header)
        self.on_headers_complete = self._new(protocol.on_headers_complete)
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def _new(self, tell: Callable[..., None]) -> Callable[..., None]:
        return lambda *what: None if self.knows_head else tell(*what)
