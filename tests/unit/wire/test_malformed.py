"""Bytes that are no message are refused with the place, before they cost anything."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.wire import JSON, MSGPACK, Malformed, NeedsImport, bounds, decode, encode


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "byte 0"),
        (b"[1,", "byte 3"),
        (b'{"a": nonsense}', "byte 6"),
        (b"[1] 2", "byte 4"),
        (b"NaN", "byte 0"),
        (b"[Infinity]", "byte 1"),
        (b"1e400", "too large"),
        (b"1" * 5000, "too large"),
        (b'["\xff"]', "byte 2"),
        (b'"\\ud800"', "byte"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'[{"x": {"a:": 1, "a:": 2}}]', "twice"),
        (b"[" * 100_000, "deep"),
        (b"[" * 200 + b"]" * 200, "deep"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "deep"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_malformed_json_is_refused_with_the_place(body: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        decode(JSON, body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "byte 0"),
        (b"\xc1", "byte 0"),
        (b"\x92\x01", "byte 2"),
        (b"\x01\x02", "byte 1"),
        (b"\xa1\xff", "byte 1"),
        (b"\xdd\xff\xff\xff\xff", "byte 5"),
        (b"\xdf\xff\xff\xff\xff", "byte 5"),
        (b"\xdb\xff\xff\xff\xff", "byte"),
        (b"\xdd\x7f\xff\xff\xff" * 500, "byte"),
        (b"\x91" * 1000 + b"\x01", "deep"),
        (b"\x91" * 200 + b"\x01", "deep"),
        (b"\xc7\x01\x63\x00", "extension type 99"),
        (b"\xc7\x01\x02\x01", "no set"),
        (b"\xc7\x03\x02\x92\x01\x01", "twice"),
        (b"\xc7\x08\x14" + b"\xff" * 8, "tensor cannot be read"),
        (b"\xc7\x04\x08\xa3abc", "no Decimal"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_malformed_msgpack_is_refused_with_the_place(body: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        decode(MSGPACK, body)


@given(st.binary(max_size=200), st.sampled_from([JSON, MSGPACK]))
def test_any_bytes_are_a_value_or_malformed(body: bytes, kind: str) -> None:
    try:
        decode(kind, body)
    except Malformed as error:
        assert str(error)


@given(st.data())
def test_message_with_one_byte_changed_is_a_value_or_malformed(data: st.DataObject) -> None:
    import numpy

    value = {"args": [(1, {2: b"3"}), numpy.arange(3)], "kwargs": {"x": {1.5, "y"}}}
    body = bytearray(encode(value)[1])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        decode(MSGPACK, bytes(body))


def test_promise_of_much_costs_nothing() -> None:
    tracemalloc.start()
    for body in (b"\xdd\xff\xff\xff\xff", b"\xdd\x00\xff\xff\xff" * 300, b"\xc6\xff\xff\xff\xff"):
        with pytest.raises(Malformed):
            decode(MSGPACK, body)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, b"[" + b"1," * 8_000_000 + b"1]"),
        (MSGPACK, b"\xdd\x00\x80\x00\x00" + b"\x80\xa1x" * (1 << 22)),
    ],
)
def test_more_values_than_a_message_may_hold_are_refused_before_they_are_made(
    kind: str, body: bytes
) -> None:
    tracemalloc.start()
    with pytest.raises(Malformed, match=f"more than {bounds.MAX_VALUES} values"):
        decode(kind, body)
    assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    tracemalloc.stop()


def test_long_texts_and_arrays_are_no_many_values() -> None:
    text = "a:b,c" * 2_000_000
    assert decode(*encode([text])) == [text]
    assert decode(*encode([text.encode()])) == [text.encode()]


@given(st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_lengths_of_values_are_those_of_the_format(value: Any) -> None:
    body = msgspec.msgpack.encode(value)
    place = 0
    while place < len(body):
        place += bounds._length(body, place)
    assert place == len(body)


def test_value_of_a_library_that_is_not_loaded_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import numpy

    body = encode([(numpy.zeros(1),)])[1]
    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(NeedsImport) as caught:
        decode(MSGPACK, body, may_import=False)
    assert caught.value.library == "numpy"
