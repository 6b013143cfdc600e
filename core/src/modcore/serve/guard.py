"""What stands before the application: the key, and a limit to the size of a body."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modcore.serve.bearer import Bearer
from modcore.serve.errors import error_response

MAX_BODY_BYTES = 8 * 1024 * 1024
#: What anybody may ask.
OPEN_PATHS = frozenset({"/health", "/readyz"})


class Guard:
    """ASGI middleware: 401 without the right key (if there is one), 413 for too large a body.

    With an `api_key`, `token` opens as well: it is what services of a cluster call each other with.
    """

    def __init__(
        self,
        app: ASGIApp,
        api_key: str | None,
        max_body_bytes: int = MAX_BODY_BYTES,
        token: str | None = None,
    ) -> None:
        self.app = app
        self._bearer = Bearer(api_key, token or "") if api_key else None
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._bearer is None and not is_local(headers.get(b"origin", b"")):
            message = (
                "This server has no key and answers no web pages of other hosts; give it a key."
            )
            await error_response(403, message)(scope, receive, send)
            return
        given = headers.get(b"authorization", b"")
        if self._bearer and scope["path"] not in OPEN_PATHS and not self._bearer.opens(given):
            message = "The API key is missing or wrong; send it as `Authorization: Bearer KEY`."
            await error_response(401, message, code="invalid_api_key")(scope, receive, send)
            return
        body = _Body(receive, self._max_body_bytes)
        if _declared(headers) <= self._max_body_bytes and await body.read():
            await self.app(scope, body.replay, send)
        else:
            # The server drops what still comes of it: most clients listen only after they have sent everything.
            message = f"The body is larger than {self._max_body_bytes} bytes; send less at once."
            await error_response(413, message)(scope, receive, send)


def _declared(headers: dict[bytes, bytes]) -> int:
    """The length that the body is announced with; 0 when it is not."""
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() and len(length) < 20 else 0


def is_local(origin: bytes) -> bool:
    """Whether a browser says that a page of this machine asks, or nothing says who asks.

    Without it, any web page that somebody here opens could use a server that has no key.
    """
    if not origin:
        return True
    try:
        host = urlsplit(origin.decode("latin-1")).hostname
    except ValueError:
        return False
    return host in ("localhost", "127.0.0.1", "::1")


class _Body:
    """Reads a request's body up to a limit, and hands it to the application as one message."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self._message: Message | None = None

    async def read(self) -> bool:
        """Read the body; false as soon as it is larger than the limit."""
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._message = message
                return True
            size += len(message.get("body", b""))
            if size > self._limit:
                return False
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        self._message = {"type": "http.request", "body": b"".join(parts), "more_body": False}
        return True

    async def replay(self) -> Message:
        """The body once, then whatever comes next."""
        message, self._message = self._message, None
        return message or await self._receive()
