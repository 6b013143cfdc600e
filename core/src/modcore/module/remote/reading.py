"""Reading one HTTP/1.1 answer from bytes as they come (RFC 9112); knows no sockets."""

from __future__ import annotations

MAX_HEAD = 64 * 1024
_MAX_CHUNK_LINE = 1024


class NoHttp(Exception):
    """The bytes are no HTTP answer; the message says why."""


class Reading:
    """Takes bytes by `feed`, hands out the body's by `take`.

    `status` is 0 until the head has come; `headers` have lower-case names.
    """

    __slots__ = (
        "_body",
        "_feed_body",
        "_head",
        "_left",
        "headers",
        "is_complete",
        "keeps_alive",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self.keeps_alive = False
        self._head = bytearray()  # what has come of it, later of the line of a chunk
        self._body = bytearray()
        self._left: int | None = -1  # bytes to come of the body or chunk; None: up to the end
        self._feed_body = self._feed_plain

    @property
    def has_begun(self) -> bool:
        """Whether any byte has come."""
        return bool(self.status or self._head)

    @property
    def is_stream(self) -> bool:
        """Whether the body are events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def feed(self, data: bytes) -> None:
        """The next bytes; raises NoHttp."""
        if self.status:
            self._feed_body(data)
        else:
            self._feed_head(data)

    def _feed_head(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > MAX_HEAD:
                raise NoHttp(f"its headers are larger than {MAX_HEAD} bytes")
            return
        rest = bytes(self._head[end + 4 :])
        head, self._head = self._head[:end], bytearray()
        self._read_head(head.decode("latin-1"))
        # One that only says to go on (100) is followed by the answer's own.
        if rest or self._left == 0:
            self.feed(rest)

    def end(self) -> None:
        """There are no more bytes; raises NoHttp where some are missing."""
        if self._left is not None or not self.status:
            raise NoHttp("it ended in the middle")
        self.is_complete, self.keeps_alive = True, False

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        body, self._body = bytes(self._body), bytearray()
        return body

    def _read_head(self, text: str) -> None:
        first, *lines = text.split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise NoHttp(f"it begins with {first[:40]!r}")
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise NoHttp(f"{line[:40]!r} is no header")
            self.headers[name.lower()] = value.strip()
        status = int(rest[:3])
        if status >= 200:
            self.status = status
            self._choose_framing(version)

    def _choose_framing(self, version: str) -> None:
        connection = self.headers.get("connection", "").lower()
        self.keeps_alive = version == "HTTP/1.1" and "close" not in connection
        length = self.headers.get("content-length")
        if self.status in (204, 304):
            self._left = 0
        elif self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._feed_body, self._left = self._feed_chunked, -1
        elif length is None:
            self._left = None
        elif length.isascii() and length.isdigit() and len(length) < 20:
            self._left = int(length)
        else:
            raise NoHttp(f"its length is {length[:40]!r}")

    def _feed_plain(self, data: bytes) -> None:
        self._body += data
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise NoHttp("it is longer than it says")
            self.is_complete = self._left == 0

    def _feed_chunked(self, data: bytes) -> None:
        """`_left` is what is to come of a chunk, its line break included; -1 where a size comes, -2 after the last."""
        self._head += data
        while self._head and not self.is_complete:
            if self._left is not None and self._left > 0:
                self._take_chunk(self._left)
            elif not self._take_line():
                return

    def _take_chunk(self, left: int) -> None:
        part = self._head[:left]
        self._body += part[: max(0, left - 2)]
        del self._head[: len(part)]
        self._left = left - len(part) or -1

    def _take_line(self) -> bool:
        end = self._head.find(b"\r\n")
        if end < 0:
            if len(self._head) > _MAX_CHUNK_LINE:
                raise NoHttp("the size of a chunk is too long")
            return False
        line = bytes(self._head[:end])
        del self._head[: end + 2]
        if self._left == -2:
            self.is_complete = not line  # trailers come first
            return True
        digits = line.partition(b";")[0].strip()
        try:
            size = int(digits, 16) if len(digits) < 16 else -1
        except ValueError:
            size = -1
        if size < 0:
            raise NoHttp(f"{line[:40]!r} is no size of a chunk")
        self._left = size + 2 if size else -2
        return True
