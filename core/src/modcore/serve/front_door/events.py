"""Server-sent events on their way through: only whole ones pass, so that an error can follow at any time."""

from __future__ import annotations

#: An event longer than this passes in parts.
MAX_HELD = 1024 * 1024


class WholeEvents:
    """Cuts a stream of bytes behind the last event that is complete."""

    def __init__(self) -> None:
        self.rest = b""
        self._is_inside = False  # the beginning of an event has passed, its end has not

    def whole(self, data: bytes) -> bytes:
        """What may pass, now that `data` has come."""
        data = self.rest + data
        end = data.rfind(b"\n\n") + 2
        if end < 2 and len(data) > MAX_HELD:
            self.rest, self._is_inside = b"", True
            return data
        if end < 2:
            self.rest = data
            return b""
        self.rest, self._is_inside = data[end:], False
        return data[:end]

    @property
    def ending(self) -> bytes:
        """What ends an event that has passed in part."""
        return b"\n\n" if self._is_inside else b""
