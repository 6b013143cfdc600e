"""Which header fields pass the front door, in either direction: those named here and no others.

So a client's key never reaches a service, and nobody outside can speak to one as the front door does.
"""

from __future__ import annotations

from collections.abc import Iterable

from modcore.serve.front_door.connection import Fields

#: From the client to the service. `x-modcore-deadline` is written anew for each attempt.
_INWARD = frozenset(
    {
        b"accept",
        b"content-type",
        b"content-encoding",
        b"traceparent",
        b"tracestate",
        b"baggage",
    }
)
#: From the service to the client; how long a body is, is part of the answer's beginning.
_OUTWARD = frozenset(
    {
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"cache-control",
        b"retry-after",
        b"x-modcore-state",
    }
)


def inward(fields: Iterable[tuple[bytes, bytes]], request_id: bytes) -> bytes:
    """The lines of a client's header that a service gets."""
    kept = [b"x-request-id: " + request_id + b"\r\n"]
    for name, value in fields:
        if name in _INWARD and b"\r" not in value and b"\n" not in value:
            kept.append(name + b": " + value + b"\r\n")
    return b"".join(kept)


def outward(fields: Fields, request_id: bytes) -> Fields:
    """The fields of a service's answer that a client gets."""
    kept = [field for field in fields if field[0] in _OUTWARD]
    kept.append((b"x-request-id", request_id))
    return kept


def is_event_stream(fields: Fields) -> bool:
    """Whether server-sent events follow."""
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in fields
    )
