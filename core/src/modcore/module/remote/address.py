"""Where a service is, and the head of every request to it."""

from __future__ import annotations

import functools
import math
import ssl
from urllib.parse import urlsplit

from modcore.wire import JSON, MSGPACK

_PORTS = {"http": 80, "https": 443}


class Address:
    """The parts of a service's URL; raises ValueError for what is none.

    A certificate behind ``https`` has to be one that this machine trusts (``SSL_CERT_FILE``).
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url if isinstance(url, str) else "")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL of a service.")
        if parts.username or parts.password:
            raise ValueError(
                "A service's URL holds no user or password; give the token as token=..."
            )
        if token and not (token.isascii() and token.isprintable()):
            raise ValueError("A token is printable ASCII; this one is not.")
        self.url = url.rstrip("/")
        self.host = parts.hostname
        self.port = parts.port or _PORTS[parts.scheme]
        self.is_secure = parts.scheme == "https"
        self.path = parts.path.rstrip("/")
        where = f"[{self.host}]" if ":" in self.host else self.host
        key = f"authorization: Bearer {token}\r\nx-modcore-detail: 1\r\n" if token else ""
        self._common = (
            f"host: {where}:{self.port}\r\n{key}accept: {MSGPACK}, {JSON}, text/event-stream\r\n"
        )

    def post(self, path: str, content_type: str, body: bytes, left: float | None) -> bytes:
        """A whole request; `left` is the call's time in seconds."""
        deadline = (
            "" if left is None or not math.isfinite(left) else f"x-modcore-deadline: {left:.6f}\r\n"
        )
        head = (
            f"POST {self.path}{path} HTTP/1.1\r\n{self._common}{deadline}"
            f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1") + body

    def get(self, path: str) -> bytes:
        """A whole request for what is at `path`."""
        return f"GET {self.path}{path} HTTP/1.1\r\n{self._common}\r\n".encode("latin-1")

    @functools.cached_property
    def tls(self) -> ssl.SSLContext | None:
        """How a connection is secured; None for plain HTTP."""
        return ssl.create_default_context() if self.is_secure else None
