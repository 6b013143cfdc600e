"""Bad requests: refused, cut off, never a 500, and never the end of the process."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Callable, Iterator

import psutil
import pytest

from modcore.serve import bounded_http
from service_modules import TOKEN
from services import ServiceProcess, service

HEAD = f"POST /call HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n".encode()


@pytest.fixture(scope="module")
def same() -> Iterator[ServiceProcess]:
    with service("Same") as running:
        yield running


def answer_to(running: ServiceProcess, *parts: bytes, patience: float = 5.0) -> bytes:
    """What comes back for `parts`, sent one after the other, until the server hangs up or is silent."""
    got = b""
    with running.open_socket() as caller:
        try:
            for part in parts:
                caller.sendall(part)
            caller.settimeout(patience)
            while more := caller.recv(65536):
                got += more
                caller.settimeout(0.02)
        except TimeoutError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            return got or b"(reset)"
    return got


def test_body_over_the_cap_is_413_announced_or_not(same: ServiceProcess) -> None:
    assert b" 413 " in answer_to(same, HEAD + b"content-length: 99999999999\r\n\r\n")[:20]
    assert b" 400 " in answer_to(same, HEAD + b"content-length: " + b"9" * 40 + b"\r\n\r\n")[:20]
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    got = answer_to(same, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 66)
    assert b" 413 " in got[:20] or got == b"(reset)"
    assert same(1) == 1


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"x: " + b"y" * (65 << 10) + b"\r\n\r\n",
        HEAD + b"x: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * (65 << 10) + b" HTTP/1.1\r\n\r\n",
        HEAD + b"x: " + b"y" * (20 << 20),
        b"GET /" + b"a" * (20 << 20),
    ],
    ids=["value", "many", "path", "no end", "path without end"],
)
def test_head_over_64_kib_is_431_before_it_is_kept(same: ServiceProcess, head: bytes) -> None:
    process = psutil.Process(same.process.pid)
    before = process.memory_info().rss
    got = answer_to(same, *(head[i : i + 65536] for i in range(0, len(head), 65536)))
    assert b" 431 " in got[:20] or got == b"(reset)"
    assert process.memory_info().rss - before < 8 << 20
    assert same(1) == 1


def test_head_of_almost_64_kib_is_answered(same: ServiceProcess) -> None:
    head = (
        HEAD + b"x: " + b"y" * (60 << 10) + b"\r\ncontent-length: 12\r\nconnection: close\r\n\r\n"
    )
    assert b" 200 " in answer_to(same, head + b'{"args":[1]}')[:20]


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /call HT", HEAD, HEAD + b"content-length: 100\r\n\r\n{", HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n"],
    ids=["nothing", "half a line", "half a head", "half a body", "half a chunk"],
)  # fmt: skip
def test_half_sent_request_is_cut_off(sent: bytes) -> None:
    with (
        service("Same", {"TEST_REQUEST_SECONDS": "0.5"}) as running,
        running.open_socket() as caller,
    ):
        caller.sendall(sent)
        caller.settimeout(10)
        assert b" 408 " in caller.recv(1000)[:20]
        assert caller.recv(1000) == b""
        assert running(1) == 1
    assert bounded_http.REQUEST_SECONDS == 20


def test_dripping_request_is_cut_off_although_it_goes_on() -> None:
    with (
        service("Same", {"TEST_REQUEST_SECONDS": "0.6"}) as running,
        running.open_socket() as caller,
    ):
        caller.sendall(HEAD)
        caller.settimeout(0.1)
        for _ in range(100):
            try:
                got = caller.recv(1000)
                break
            except TimeoutError:
                caller.sendall(b"x: y\r\n")
        assert b" 408 " in got[:20]


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
OFFERING = {
    "length": HEAD + OFFER + b'content-length: 12\r\n\r\n{"args":[1]}',
    "chunks": HEAD
    + OFFER
    + b'transfer-encoding: chunked\r\n\r\n4\r\n{"ar\r\n8\r\ngs":[1]}\r\n0\r\n\r\n',
}


@pytest.mark.parametrize("request_bytes", OFFERING.values(), ids=OFFERING)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_offer_of_http2_is_declined_and_the_body_is_read(
    same: ServiceProcess, request_bytes: bytes, step: int
) -> None:
    pieces = [request_bytes[i : i + step] for i in range(0, len(request_bytes), step)]
    with same.open_socket() as caller:
        for _ in range(2):  # on one connection
            for piece in pieces:
                caller.sendall(piece)
            assert complete_answer(caller).endswith(b'\r\n\r\n{"result":1}')
        caller.sendall(HEAD.replace(b"POST /call", b"GET /readyz") + OFFER + b"\r\n")
        assert b" 200 " in complete_answer(caller)[:20]


def test_offers_in_one_piece_are_answered_one_after_the_other(same: ServiceProcess) -> None:
    with same.open_socket() as caller:
        caller.sendall(OFFERING["length"] * 3 + HEAD + b'content-length: 12\r\n\r\n{"args":[2]}')
        for result in b"1112":
            assert complete_answer(caller).endswith(b'{"result":%c}' % result)


def test_thousands_of_offers_end_nothing(same: ServiceProcess) -> None:
    offer = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    answer_to(same, offer * 5_000, patience=0.5)
    assert same(1) == 1


def complete_answer(caller: socket.socket) -> bytes:
    """One answer with a content-length, and nothing of the next."""
    caller.settimeout(10)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += (got := caller.recv(1))
        assert got, head
    [length] = re.findall(rb"content-length: (\d+)", head)
    body = b""
    while len(body) < int(length):
        body += (got := caller.recv(int(length) - len(body)))
        assert got, (head, body)
    return head + body


def bad_request(dice: random.Random) -> bytes:
    good = HEAD + b"content-length: 14\r\n\r\n" + b'{"args": ["x"]}'[:14]
    kinds: list[Callable[[], bytes]] = [
        lambda: dice.randbytes(dice.randrange(1, 300)),
        lambda: _changed(dice, good),
        lambda: good[: dice.randrange(len(good))],
        lambda: HEAD + _body(dice.randbytes(dice.randrange(200))),
        lambda: HEAD + _body(_changed(dice, b'{"args": [{"a": [1, 2.5, "b", null]}], "kwargs": {}}')),
        lambda: HEAD.replace(b"json", b"x-msgpack") + _body(dice.randbytes(dice.randrange(200))),
        lambda: HEAD.replace(b"json", b"x-msgpack") + _body(_changed(dice, b"\x81\xa4args\x91\xc7\x03\x01\x91\x01")),
        lambda: HEAD + b"x-modcore-deadline: " + dice.randbytes(3).hex().encode() + b"\r\n" + _body(b'{"args": [1]}'),
        lambda: HEAD + _body(b'{"args": ' + b"[" * dice.randrange(2000) + b"]" * dice.randrange(2000) + b"}"),
        lambda: HEAD + b"content-length: %d\r\ncontent-length: 3\r\n\r\nabc" % dice.randrange(9),
        lambda: HEAD + b"transfer-encoding: chunked\r\n\r\n" + dice.randbytes(20),
        lambda: HEAD.replace(b"/call", dice.choice([b"*", b"http://x:y/", b"/%ff%00", b"//", b"/\xff", b"?"])) + b"\r\n",
        lambda: _changed(dice, dice.choice(list(OFFERING.values()))),
        lambda: HEAD + OFFER + _body(dice.randbytes(dice.randrange(200))),
        lambda: HEAD.replace(b"POST", dice.choice([b"CONNECT", b"PATCH", b"G\xc3T", b"OPTIONS", b"TRACE"])) + b"\r\n",
    ]  # fmt: skip
    return dice.choice(kinds)()


def _body(content: bytes) -> bytes:
    return b"content-length: %d\r\n\r\n" % len(content) + content


def _changed(dice: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.randrange(1, 4)):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(2))
def test_thousand_bad_requests_are_no_500_and_end_nothing(same: ServiceProcess, seed: int) -> None:
    dice = random.Random(seed)
    process = psutil.Process(same.process.pid)
    before = process.memory_info().rss
    answered = 0
    for _ in range(500):
        sent = bad_request(dice)
        got = answer_to(same, sent, patience=0.05)
        assert b"Traceback" not in got
        answered += got.startswith(b"HTTP/1.1 4")
        assert not got.startswith(b"HTTP/1.1 500"), (sent, got)
    assert answered > 200
    assert same(1) == 1
    assert same.process.poll() is None
    assert process.memory_info().rss - before < 32 << 20
