"""The body of a request: held while it is small, so that it can be sent again, else handed on as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.types import Receive

from modcore.serve.caller_gone import CallerGone
from modcore.serve.front_door.refusals import Refusal

MAX_BODY = 64 * 1024 * 1024
#: A body up to this size is read before an instance is chosen, and may be sent to several.
MAX_HELD = 1024 * 1024


class Body:
    """What a client sends; `length` is what it announced, None when it announced nothing."""

    def __init__(self, receive: Receive, length: int | None, limit: int) -> None:
        if length is not None and length > limit:
            raise too_large(limit)
        self.length = length
        self._receive, self._limit = receive, limit
        self._size = 0
        self._held: list[bytes] = []
        self.is_read = False  # to its end
        self.has_flowed = False  # part of it has been handed on, and cannot be sent again

    async def hold(self, size: int) -> None:
        """Read until the body's end, or until `size` bytes are held."""
        if self.length is not None and self.length > size:
            return
        while not self.is_read and self._size <= size:
            self._held.append(await self._next())
        if self.is_read:
            self._held = [b"".join(self._held)] if len(self._held) > 1 else self._held
            self.length = self._size

    @property
    def held(self) -> bytes:
        """What has been read of it and can be sent again."""
        return self._held[0] if len(self._held) == 1 else b"".join(self._held)

    async def rest(self) -> AsyncIterator[bytes]:
        """What has not been read yet, once."""
        while not self.is_read:
            data = await self._next()
            self.has_flowed = True
            yield data

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        data: bytes = message.get("body", b"")
        self._size += len(data)
        if self._size > self._limit:
            raise too_large(self._limit)
        self.is_read = not message.get("more_body", False)
        return data


def too_large(limit: int) -> Refusal:
    """The answer to a body over `limit` bytes."""
    return Refusal(413, f"The body is larger than {limit} bytes; send less at once.")
