"""What servers may say, proper or not: each on a real socket, byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modcore.bench.http import MAX_BODY, Address, exchange
from modcore.bench.measurement import Measurement
from modcore.bench.url_target import UrlTarget
from modcore.bench.workload import BenchRequest
from modcore.errors import InvalidRequest, ModcoreError, ServiceError

REQUEST = BenchRequest([5, 6, 7], 3)


class Scripted:
    """A server that says what it is told, and keeps what it was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        body = await reader.readexactly(length)
        self.asked.append((head, json.loads(body) if body else {}))
        try:
            answer = self.answers.pop(0) if self.answers else b""
            for at in range(0, len(answer), 7 if len(answer) < 5000 else 1 << 16):
                writer.write(answer[at : at + (7 if len(answer) < 5000 else 1 << 16)])
                await writer.drain()
            writer.close()
        except ConnectionError:
            pass  # the caller has had enough


@asynccontextmanager
async def saying(*answers: bytes) -> AsyncIterator[Scripted]:
    script = Scripted(*answers)
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    script.url = f"http://{host}:{port}"
    async with server:
        yield script


def whole(status: str, body: object, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


def stream(*events: object, end: bytes = b"0\r\n\r\n") -> bytes:
    """Events as chunks that are cut anywhere."""
    data = b"".join(
        b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"
        for event in events
    )
    chunks = b"".join(
        f"{len(part):x}\r\n".encode() + part + b"\r\n"
        for part in (data[at : at + 11] for at in range(0, len(data), 11))
    )
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + end


def text(said: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": said, "finish_reason": reason}]}


MODELS = whole("200 OK", {"data": [{"id": "m", "max_model_len": 512}]})
USAGE = {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}}
DONE = b"[DONE]"


async def ask(answer: bytes) -> Measurement:
    measurement = Measurement(3)
    async with saying(answer) as server:
        await UrlTarget(server.url, "m").ask(REQUEST, measurement)
    return measurement


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("https://example.org", "https://example.org:443"),
        ("http://127.0.0.1:0", "http://127.0.0.1:0"),
        ("http://[::1]:80/a b/v1", "http://[::1]:80/a%20b"),
        ("http://bücher.example", "http://xn--bcher-kva.example:80"),
    ],
)
def test_address_is_read_from_the_url(url: str, said: str) -> None:
    assert str(Address.parse(url)) == said


@pytest.mark.parametrize(
    "url",
    [
        "ftp://here",
        "file:///etc/passwd",
        "http://",
        "http://here:99999",
        "http://[",
        "http://a..b",
        "http://key:s3cret@here",
        "http://here/?key=s3cret",
        "http://here/#s3cret",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Address.parse(url)
    assert "s3cret" not in str(refusal.value)


async def test_stream_is_timed_piece_by_piece_and_counted_by_the_usage() -> None:
    got = await ask(stream(text("a"), text(""), text("b"), text("", "length"), USAGE, DONE))
    assert len(got.pieces) == 3, "an event that only says why it ended is no token"
    assert (got.prompt_tokens, got.output_tokens) == (4, 3)
    assert got.succeeded


async def test_stream_without_usage_is_counted_by_its_pieces() -> None:
    got = await ask(stream(text("a"), text("b", "stop")))
    assert (got.prompt_tokens, got.output_tokens) == (3, 2)


async def test_answer_without_chunks_is_read_to_its_end() -> None:
    events = b'data:{"choices":[{"text":"a"}]}\r\n\r\n: ping\r\n\r\ndata: [DONE]\r\n\r\n'
    for head in (f"content-length: {len(events)}", "connection: close"):
        got = await ask(b"HTTP/1.1 200 OK\r\n" + head.encode() + b"\r\n\r\n" + events)
        assert got.output_tokens == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n", "speaks no HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "no proper HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10 + b"z" * (2 << 20), "a line of more than"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort", "closed the connection"),
        (stream(text("a"), end=b""), "closed the connection"),
        (stream(text("a"), end=b"-5\r\n"), "no proper HTTP"),
        (stream(text("a")), "in the middle of an answer"),
        (stream(b"{not json"), "not the OpenAI API's JSON"),
        (stream(b"[" * 5000), "not the OpenAI API's JSON"),
        (stream(text("a"), {"error": {"message": "out of\x1b[31m memory"}}), "out of?[31m memory"),
        (stream(b"x" * (2 << 20)), "a line of more than"),
        (whole("400 Bad", {"error": {"message": "prompt is wrong"}}), "400: prompt is wrong"),
        (whole("500 Bad", b"<html>\n\x1b]0;" + b"x" * 99_999), "500: <html> ?]0;xxx"),
        (whole("422 Bad", {"detail": [{"loc": 1}]}), "422: [{'loc': 1}]"),
        (whole("401 No", {}), "--api-key-env"),
        (whole("307 Go", b"", "location: http://169.254.169.254/"), "redirects to http://169"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_answer_that_is_none_is_an_error_that_says_why(answer: bytes, said: str) -> None:
    with pytest.raises(ServiceError) as failure:
        await ask(answer)
    assert said in str(failure.value)
    assert str(failure.value).isprintable() and len(str(failure.value)) < 500


async def test_endless_body_is_cut_off() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write((b": " + b"x" * 9998 + b"\n") * 10)
                await writer.drain()
        except ConnectionError:
            pass

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ServiceError, match=f"larger than {MAX_BODY}"):
        await UrlTarget(f"http://127.0.0.1:{port}", "m").ask(REQUEST, Measurement(3))
    server.close()


async def test_interim_answer_is_passed_over() -> None:
    async with saying(b"HTTP/1.1 100 Continue\r\n\r\n" + whole("200 OK", b"yes")) as server:
        address = Address.parse(server.url)
        async with exchange(address, "GET", "/x", {}) as response:
            assert (response.status, await response.read()) == (200, b"yes")


async def test_fields_that_a_server_refuses_by_name_are_left_out() -> None:
    refusals = [
        whole("400 Bad", {"error": {"message": f"{name} is not served here"}})
        for name in ("ignore_eos", "stream_options")
    ]
    answer = stream(text("a", "length"), DONE)
    async with saying(MODELS, *refusals, answer, answer) as server:
        target = UrlTarget(server.url)
        await target.connect()
        assert target.details == {"ignore_eos": False}
        assert (target.model, target.context) == ("m", 512)
        await target.ask(REQUEST, Measurement(3))
    assert [set(body) & {"ignore_eos", "stream_options"} for _, body in server.asked[1:]] == [
        {"ignore_eos", "stream_options"},
        {"stream_options"},
        set(),
        set(),
    ]
    assert server.asked[-1][1]["prompt"] == REQUEST.prompt_ids


async def test_key_and_words_are_sent_when_asked_for() -> None:
    answer = stream(text("a", "length"), DONE)
    async with saying(MODELS, answer) as server:
        target = UrlTarget(server.url, api_key="s3cret", text_prompts=True)
        await target.connect()
    assert all("authorization: Bearer s3cret\r\n" in head for head, _ in server.asked)
    assert len(server.asked[1][1]["prompt"].split()) == 3


@pytest.mark.parametrize(
    ("answers", "model", "error", "said"),
    [
        ([whole("200 OK", {"data": [{"id": "a"}, {"id": "b"}]})], None, InvalidRequest, "a, b"),
        ([whole("200 OK", {"data": []})], None, InvalidRequest, "none"),
        ([whole("200 OK", b"<html>")], None, ServiceError, "OpenAI API's JSON"),
        ([whole("404 No", b"")], None, ServiceError, "404"),
        ([MODELS, whole("400 Bad", b"prompt: text only")], None, ServiceError, "text only"),
        ([whole("404 No", b""), whole("404 No", b"no such model")], "x", ServiceError, "no such"),
    ],
)
async def test_server_that_cannot_be_measured_is_named_with_its_reason(
    answers: list[bytes], model: str | None, error: type[ModcoreError], said: str
) -> None:
    async with saying(*answers) as server:
        with pytest.raises(error, match=said):
            await UrlTarget(server.url, model).connect()


async def test_server_that_is_not_there_is_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ServiceError, match="Connection refused; is the server running"):
            await UrlTarget(url).connect()
