"""Requests and answers as ASGI has them: bounded bodies, and errors in one shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Receive, Send

from modcore.errors import ModcoreError
from modcore.serve.caller_gone import CallerGone
from modcore.wire import JSON, MSGPACK, encode

MAX_BODY_BYTES = 64 * 1024 * 1024

Headers = Mapping[bytes, bytes]
Extra = Sequence[tuple[bytes, bytes]]

_JSON, _MSGPACK = JSON.encode(), MSGPACK.encode()
_KINDS = {_JSON: JSON, _MSGPACK: MSGPACK}


class Refused(ModcoreError):
    """A request that gets `status` and `error`; it has not reached the module."""

    def __init__(
        self, status: int, kind: str, message: str, extra: Extra = (), **more: str
    ) -> None:
        super().__init__(message)
        self.status, self.extra = status, extra
        self.error = {"type": kind, "message": message, **more}


def not_now(state: str) -> Refused:
    """The answer to a call that is not begun because the service is `state`: busy or draining."""
    reasons = {
        "busy": "As many calls run as this service takes at once; try again later, or elsewhere.",
        "draining": "This service is being stopped; call another instance.",
    }
    extra = [(b"retry-after", b"1"), (b"x-modcore-state", state.encode())]
    if state == "draining":
        extra.append((b"connection", b"close"))
    return Refused(503, "ServiceUnavailable", reasons[state], extra)


def deadline_exceeded() -> Refused:
    """The answer to a call whose time is over."""
    return Refused(504, "DeadlineExceeded", "The call took longer than its deadline.")


def stopped() -> Refused:
    """The answer to a call in whose middle the service ends."""
    return Refused(503, "Draining", "The service was stopped before the call had ended.")


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """The body; raises Refused when it is too large, CallerGone."""
    declared = headers.get(b"content-length", b"")
    # The server drops what still comes: most clients listen only after they have sent everything.
    if len(declared) > 19 or (declared.isdigit() and int(declared) > MAX_BODY_BYTES):
        raise _too_large()
    message = await receive()
    body = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return _bounded(body)
    parts, size = [], 0
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise CallerGone


def content_type(headers: Headers) -> str:
    """The body's content type; raises Refused for one that no call has."""
    given = headers.get(b"content-type", b"")
    known = _KINDS.get(given) or _KINDS.get(given.partition(b";")[0].strip().lower())
    if known is None:
        raise Refused(
            415,
            "UnsupportedMediaType",
            f"Send the call as {JSON} or {MSGPACK}, and say so in content-type.",
        )
    return known


def takes_msgpack(headers: Headers) -> bool:
    """Whether the caller reads msgpack."""
    return _MSGPACK in headers.get(b"accept", b"")


def seconds_left(headers: Headers) -> float | None:
    """The call's deadline in seconds; raises Refused for what is no number."""
    given = headers.get(b"x-modcore-deadline")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Refused(400, "BadRequest", "x-modcore-deadline has to be a number of seconds.")
    return seconds


async def answer(send: Send, status: int, kind: bytes, body: bytes, extra: Extra = ()) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_value(
    send: Send, value: Any, status: int = 200, extra: Extra = (), *, json_only: bool = True
) -> None:
    """Send `value`; raises CannotTravel."""
    kind, body = encode(value, json_only=json_only)
    await answer(send, status, kind.encode(), body, extra)


async def answer_refusal(send: Send, refused: Refused) -> None:
    """Send why a request is refused."""
    await answer_value(send, {"error": refused.error}, refused.status, refused.extra)


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def _too_large() -> Refused:
    return Refused(
        413,
        "RequestTooLarge",
        f"The body is larger than {MAX_BODY_BYTES} bytes; send less at once.",
    )
