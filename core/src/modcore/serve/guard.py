"""What stands before the application: the key, and a limit to the size of a body."""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modcore.serve.errors import error_response

MAX_BODY_BYTES = 8 * 1024 * 1024
OPEN_PATHS = frozenset({"/health"})


class Guard:
    """ASGI middleware: 401 without the right key (if there is one), 413 for too large a body."""

    def __init__(
        self, app: ASGIApp, api_key: str | None, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self.app = app
        self._expected = f"bearer {api_key}".encode() if api_key else None
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["path"] not in OPEN_PATHS and not self._has_key(
            headers.get(b"authorization", b"")
        ):
            message = "The API key is missing or wrong; send it as `Authorization: Bearer KEY`."
            await error_response(401, message, code="invalid_api_key")(scope, receive, send)
            return
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._max_body_bytes:
            await self._refuse_body(scope, receive, send)
            return
        counted = _CountedBody(receive, self._max_body_bytes)
        body = await counted.read()
        if body is None:
            await self._refuse_body(scope, receive, send)
            return
        await self.app(scope, counted.replay, send)

    def _has_key(self, given: bytes) -> bool:
        if self._expected is None:
            return True
        scheme, _, key = given.partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + key.strip(), self._expected)

    async def _refuse_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"The body is larger than {self._max_body_bytes} bytes; send less at once."
        response = error_response(413, message)
        # What is left of the body is not read, so the connection cannot be used again.
        response.headers["connection"] = "close"
        await response(scope, receive, send)


class _CountedBody:
    """Reads a request's body up to a limit, and hands it to the application as one message."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self._body: bytes | None = b""
        self._gone: Message | None = None

    async def read(self) -> bytes | None:
        """The body, or None when it is larger than the limit."""
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = message
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                return None
            more = message.get("more_body", False)
        self._body = b"".join(parts)
        return self._body

    async def replay(self) -> Message:
        """The body once, then whatever comes next."""
        if self._gone:
            return self._gone
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._receive()
