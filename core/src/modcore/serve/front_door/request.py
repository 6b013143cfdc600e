"""A request as it came in, and what its header fields say about it."""

from __future__ import annotations

import itertools
import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Receive, Scope

from modcore.serve.front_door.refusals import Refusal

#: What requests without a name are called: this process, and a number.
_HERE, _numbers = secrets.token_hex(4).encode(), itertools.count(1)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


@dataclass(slots=True)  # frozen ones take three times as long to make
class Request:
    """One request, which came when the monotonic clock was at `started`."""

    method: str
    path: str
    fields: Sequence[tuple[bytes, bytes]]
    headers: Mapping[bytes, bytes]
    receive: Receive
    id: bytes
    started: float

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Request:
        """The request of an ASGI scope; its id is the client's, or a new one."""
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        name = given if _REQUEST_ID.fullmatch(given) else b"%b-%x" % (_HERE, next(_numbers))
        now = time.monotonic()
        return cls(scope["method"], scope["path"], scope["headers"], headers, receive, name, now)

    @property
    def length(self) -> int | None:
        """The length that its body is announced with."""
        length = self.headers.get(b"content-length", b"")
        return int(length) if length.isdigit() and len(length) < 20 else None

    def seconds(self, most: float) -> float:
        """How long its answer may take: what the client says, `most` at most; raises Refusal."""
        given = self.headers.get(b"x-modcore-deadline")
        if given is None:
            return most
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not seconds > 0:
            raise Refusal(
                400,
                f"x-modcore-deadline is {given.decode('latin-1')[:40]!r}; give the seconds that are left, more than 0.",
            )
        return min(seconds, most)
