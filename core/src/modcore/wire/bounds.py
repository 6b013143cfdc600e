"""How large and how deep a message may be; looked at before it becomes objects."""

from __future__ import annotations

import re
from typing import Any

from modcore.wire import MSGPACK
from modcore.wire.refusals import Malformed

MAX_DEPTH = 100
MAX_VALUES = 4_000_000  # numbers, texts, lists, … in one message
MAX_INT_BITS = 14_000  # Python reads no longer number from text (4300 digits)
#: Fewer bytes than this cannot hold enough values to matter.
_SMALL = 1 << 20

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
#: Values of msgpack that are of one byte, and floats: many of one kind behind each other.
_RUN = re.compile(rb"[\x00-\x9f\xc0\xc2\xc3\xe0-\xff]+|(?P<floats>(?:\xcb.{8})+)", re.DOTALL)
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})


def verify_size(content_type: str, body: bytes) -> None:
    """Raise Malformed when the message `body` holds more values than its reader takes."""
    if len(body) > MAX_VALUES:  # each takes a byte at least
        (verify_msgpack_size if content_type == MSGPACK else verify_json_size)(body)


def verify_json_size(body: bytes) -> None:
    """Raise Malformed when the JSON text `body` holds too many values."""
    if len(body) < _SMALL or _separators(body) < MAX_VALUES:
        return
    if _separators(_STRING.sub(b"", body)) >= MAX_VALUES:
        raise Malformed(_TOO_MANY)


def verify_json_keys(body: bytes, value: Any) -> None:
    """Raise Malformed when a key of an object in `body` comes twice, or `value`, read from it, is too deep."""
    colons, pairs = body.count(b":"), count_pairs(value)
    # Colons in texts are rare enough to look twice.
    if colons != pairs and _STRING.sub(b"", body).count(b":") != pairs:
        raise Malformed("a key comes twice in an object; send it once")


def count_pairs(value: Any, depth: int = 0) -> int:
    """The number of keys in all dicts of `value`; raises Malformed when it is too deep."""
    if depth > MAX_DEPTH:
        raise Malformed(f"it is nested more than {MAX_DEPTH} deep; make it flatter")
    kind = type(value)
    if kind not in _CONTAINERS:
        return 0
    items = value.values() if kind is dict else value
    pairs = len(value) if kind is dict else 0
    if _CONTAINERS.isdisjoint(map(type, items)):
        return pairs
    return pairs + sum(count_pairs(each, depth + 1) for each in items if type(each) in _CONTAINERS)


def verify_msgpack_size(body: bytes) -> None:
    """Raise Malformed when the msgpack `body` holds too many values; what else is wrong is seen later."""
    if len(body) < _SMALL:
        return
    place = values = 0
    while place < len(body):
        if (run := _RUN.match(body, place)) is not None:
            values += (run.end() - place) // (9 if run.lastgroup else 1)
            place = run.end()
        else:
            place += _length(body, place)
            values += 1
        if values > MAX_VALUES:
            raise Malformed(_TOO_MANY)


def _length(body: bytes, place: int) -> int:
    """Bytes of the value at `place`, without what a container holds."""
    first = body[place]
    if 0xA0 <= first <= 0xBF:
        return 1 + (first & 0x1F)
    size = _FIXED.get(first)
    if size is not None:
        return size
    width, extra = _SIZED.get(first, (0, 1))
    return extra + width + int.from_bytes(body[place + 1 : place + 1 + width], "big")


def _separators(body: bytes) -> int:
    return body.count(b",") + body.count(b":")


_TOO_MANY = f"it holds more than {MAX_VALUES} values; send numbers as an array, as msgpack"


def _codes(text: str) -> bytes:
    return bytes.fromhex(text)


#: The msgpack specification's formats by their first byte: those of a fixed length …
_FIXED = {
    first: size
    for size, codes in {
        2: "cc d0",
        3: "cd d1 d4 dc de",
        4: "d5",
        5: "ca ce d2 dd df",
        6: "d6",
        9: "cb cf d3",
        10: "d7",
        18: "d8",
    }.items()
    for first in _codes(codes)
}
#: … and those whose length stands behind it: in how many bytes, and how many there are beside.
_SIZED = {
    first: (1 << width, extra)
    for extra, codes in {1: "c4 c5 c6 d9 da db", 2: "c7 c8 c9"}.items()
    for width, first in zip((0, 1, 2) * 2, _codes(codes), strict=False)
}
