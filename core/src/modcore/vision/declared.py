"""What a file says of itself before its pixels, read without a decoder's help.

A decoder reads every part of a header, keeps some and inflates others; so size and number of parts are
known, and may be refused, before one is asked. Sources: PNG (W3C), 5; JPEG (ITU-T T.81), B.1 and B.2.2;
WebP (RFC 9649).
"""

from __future__ import annotations

from dataclasses import dataclass

#: More chunks or segments before the pixels than any camera or program writes, each of which costs time.
MOST_PARTS = 512
#: Bytes between segments that count as a part: decoders skip them one by one.
_FILLING = 128
#: Markers that no length follows (Pillow's view of them, whose walk is foreseen here).
LENGTHLESS = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


@dataclass(frozen=True, slots=True)
class Declared:
    """`size` is width and height where they are found; `parts`, as far as they are counted, stand before pixels."""

    size: tuple[int, int] | None
    parts: int = 0


def declared(name: str, data: bytes) -> Declared:
    """What `data` declares, which begins as files of the format `name` do."""
    return {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp}[name](data)


def _png(data: bytes) -> Declared:
    is_whole = data[12:16] == b"IHDR" and len(data) >= 24
    size = (_big(data, 16, 4), _big(data, 20, 4)) if is_whole else None
    at, parts = 8, 0
    while parts <= MOST_PARTS and at + 8 <= len(data) and data[at + 4 : at + 8] != b"IDAT":
        at += 12 + _big(data, at, 4)  # length, name, content, checksum
        parts += 1
    return Declared(size, parts)


def _jpeg(data: bytes) -> Declared:
    size: tuple[int, int] | None = None
    at, parts, filling = 2, 0, 0
    while parts + filling // _FILLING <= MOST_PARTS:
        start = data.find(b"\xff", at)
        if start < 0 or start + 1 >= len(data) or data[start + 1] == _SCAN:
            break
        filling += start - at
        marker, at = data[start + 1], start + 2
        if marker in (0x00, 0xFF):  # no marker: the byte may begin one
            at -= marker == 0xFF
            filling += 1
            continue
        parts += 1
        if marker in _FRAMES and size is None and at + 7 <= len(data):
            size = _big(data, at + 5, 2), _big(data, at + 3, 2)
        at += 0 if marker in LENGTHLESS else max(2, _big(data, at, 2))
    return Declared(size, parts + filling // _FILLING)


def _webp(data: bytes) -> Declared:
    if len(data) < 30:
        return Declared(None)
    kind = data[12:16]
    if kind == b"VP8X":
        return Declared((1 + _little(data, 24, 3), 1 + _little(data, 27, 3)))
    if kind == b"VP8L":
        bits = _little(data, 21, 4)
        return Declared((1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)))
    return Declared((_little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF))


def _big(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "big")


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")
