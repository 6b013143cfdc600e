"""What the client gets back: an instance's answer piece by piece, or a refusal, never a silent half of one."""

from __future__ import annotations

import logging

from starlette.types import Send

from modcore.serve.front_door.connection import Fields
from modcore.serve.front_door.events import WholeEvents
from modcore.serve.front_door.headers import is_event_stream, outward
from modcore.serve.front_door.refusals import Refusal

log = logging.getLogger("modcore.serve")

NO_ANSWER = 499  # nginx's, for a client who went before there was an answer


class Reply:
    """One answer to a client; `is_openai` says which shape errors have."""

    def __init__(self, send: Send, request_id: bytes, is_openai: bool) -> None:
        self.status = NO_ANSWER
        self._send, self._request_id, self._is_openai = send, request_id, is_openai
        self._events: WholeEvents | None = None
        self._has_begun = self._has_ended = False

    async def begin(self, status: int, fields: Fields) -> None:
        """Send an instance's status and what of its header fields passes."""
        if is_event_stream(fields):
            self._events = WholeEvents()
        await self._start(status, outward(fields, self._request_id))

    async def write(self, data: bytes, is_last: bool) -> None:
        """Send a piece of the body, as fast as the client takes it."""
        if self._events is not None and not is_last:
            data = self._events.whole(data)
        elif self._events is not None:
            data = self._events.rest + data
        if data or is_last:
            self._has_ended = is_last
            await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})

    async def whole(self, status: int, body: bytes, *fields: tuple[bytes, bytes]) -> None:
        """Send an answer of our own."""
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [length, (b"x-request-id", self._request_id), *fields])
        self._has_ended = True
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with `refusal`, or end what has begun with it.

        A stream of events gets it as its last event; of another answer the connection is cut, so that
        its client notices.
        """
        if self._has_ended:
            return
        if not self._has_begun:
            fields = [(b"content-type", b"application/json")]
            if refusal.retry_after is not None:
                fields.append((b"retry-after", str(refusal.retry_after).encode()))
            await self.whole(refusal.status, refusal.body(self._is_openai), *fields)
        elif self._events is not None:
            ending = self._events.ending + refusal.event(self._is_openai)
            self._has_ended = True
            await self._send({"type": "http.response.body", "body": ending, "more_body": False})
        else:
            log.warning("an answer is cut off: %s", refusal.message)

    async def _start(self, status: int, fields: Fields) -> None:
        self.status, self._has_begun = status, True
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
