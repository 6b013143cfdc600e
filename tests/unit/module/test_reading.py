"""One HTTP answer, however its bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.module.remote.reading import MAX_HEAD, NoHttp, Reading

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\ntrailer: x\r\n\r\n"
)
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN


def read(whole: bytes, cuts: list[int]) -> Reading:
    reading = Reading()
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for start, end in itertools.pairwise(places):
        if start < end:
            reading.feed(whole[start:end])
    return reading


@given(st.sampled_from([PLAIN, CHUNKED, GO_ON]), st.lists(st.integers(0, 120)))
def test_answer_is_the_same_wherever_its_bytes_are_cut(whole: bytes, cuts: list[int]) -> None:
    reading = read(whole, cuts)
    assert (reading.status, reading.is_complete, reading.keeps_alive) == (200, True, True)
    assert reading.take() == b"hello"


def test_answer_without_a_length_goes_on_to_the_end() -> None:
    reading = read(b"HTTP/1.0 200 OK\r\n\r\nhel", [])
    reading.feed(b"lo")
    assert not reading.is_complete
    reading.end()
    assert (reading.take(), reading.is_complete, reading.keeps_alive) == (b"hello", True, False)


@pytest.mark.parametrize(
    "whole",
    [b"", PLAIN[:-1], CHUNKED[:-1], CHUNKED[:70], PLAIN[:20], b"HTTP/1.1 100 Go on\r\n\r\n"],
    ids=repr,
)
def test_end_in_the_middle_is_told(whole: bytes) -> None:
    reading = read(whole, [])
    with pytest.raises(NoHttp, match="in the middle"):
        reading.end()


@pytest.mark.parametrize(
    "whole",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 30 + b"\r\n\r\n",
        PLAIN + b"more",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD,
    ],
    ids=lambda whole: repr(whole)[:50],
)
def test_what_is_no_http_is_refused(whole: bytes) -> None:
    with pytest.raises(NoHttp):
        read(whole, [])


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_none(whole: bytes) -> None:
    reading = Reading()
    try:
        reading.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        reading.feed(whole)
        reading.end()
    except NoHttp as error:
        assert str(error)
