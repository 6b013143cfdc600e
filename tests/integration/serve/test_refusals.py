"""What is refused: over a real socket, at once, in a few words, with the field that is wrong."""

from __future__ import annotations

import json
import socket
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from grammars import EXPLOSIVE, EXPLOSIVE_REGEX, HONEST, UNSATISFIABLE
from servers import ServerProcess, samples_of

MOST_SECONDS = 0.5  # on a machine that is busy; benchmarks/refusals_bench.py measures it
COMPLETIONS = "/v1/completions"
MIB = 1 << 20


def body(**fields: Any) -> bytes:
    return json.dumps({"prompt": "the", **fields}, separators=(",", ":")).encode()


def biases(count: int) -> bytes:
    """Entries whose keys are as short as they can be: more than these would be over the cap of a body."""
    signs = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\')
    keys = (a + b + c for a in signs for b in signs for c in signs)
    entries = ",".join(f'"{key}":1' for key, _ in zip(keys, range(count), strict=False))
    return b'{"prompt":"the","logit_bias":{' + entries.encode() + b"}}"


REFUSED = {
    "schema that does not compile": (body(json_schema={"type": "nonsense"}), "json_schema"),
    "response_format that does not compile": (
        body(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}},
            }
        ),
        "response_format",
    ),
    "regex that does not compile": (body(regex="(a"), "regex"),
    **{
        f"schema: {name}": (body(json_schema=schema), "json_schema")
        for name, schema in {**UNSATISFIABLE, **EXPLOSIVE}.items()
    },
    **{f"regex: {name}": (body(regex=regex), "regex") for name, regex in EXPLOSIVE_REGEX.items()},
    "schema of a megabyte": (body(json_schema={"enum": ["a" * 99] * 10_000}), "json_schema"),
    "100,000 stop strings": (body(stop=["stop"] * 10**5), "stop"),
    "100,000 stop numbers": (body(stop=[7] * 10**5), "stop"),
    "100,000 stop tokens": (body(stop_token_ids=[7] * 10**5), "stop_token_ids"),
    "n=10^9": (body(n=10**9), "n"),
    "max_tokens=10^12": (body(max_tokens=10**12), "max_tokens"),
    "logit_bias of 800,000": (biases(800_000), "logit_bias"),
    "logit_bias of 5,000": (body(logit_bias={str(i): 1 for i in range(5000)}), "logit_bias"),
    "lists 100,000 deep": (b'{"prompt":' + b"[" * 10**5 + b"]" * 10**5 + b"}", None),
    "objects 50,000 deep": (b'{"prompt":' + b'{"a":' * 50_000, "prompt"),
    "700,000 fields": (b"{" + b",".join(b'"%d":1' % i for i in range(700_000)) + b"}", None),
    "2,000,000 messages": (b'{"messages":[' + b"{}," * 2_000_000 + b"{}]}", None),
}


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        assert part, "the server hung up"
        received += part
    head, _, rest = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    while len(rest) < length:
        rest += connection.recv(65_536)
    return int(head.split()[1]), json.loads(rest)


def connect(server: ServerProcess) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def head_of(length: int | None) -> bytes:
    how = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return (
        f"POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{how}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("name", REFUSED)
def test_absurd_request_is_400_at_once(server: ServerProcess, name: str) -> None:
    data, param = REFUSED[name]
    assert len(data) <= 8 * MIB
    times: list[float] = []
    for _ in range(3):
        with connect(server) as connection:
            connection.sendall(head_of(len(data)) + data)
            start = time.perf_counter()
            status, answer = answer_of(connection)
            times.append(time.perf_counter() - start)
        assert status == 400
        assert answer["error"]["param"] == param
        assert len(answer["error"]["message"]) < 400
    print(f"{name}: {statistics.median(times) * 1e3:.1f} ms")
    assert statistics.median(times) < MOST_SECONDS
    assert samples_of(server)["num_requests_running", ""] == 0


@pytest.mark.parametrize("name", HONEST)
def test_schema_that_has_to_be_tried_is_answered(server: ServerProcess, name: str) -> None:
    with connect(server) as connection:
        data = body(json_schema=HONEST[name], max_tokens=2)
        connection.sendall(head_of(len(data)) + data)
        assert answer_of(connection)[0] == 200


def test_body_over_the_cap_is_413_before_it_is_sent(server: ServerProcess) -> None:
    with connect(server) as connection:
        connection.sendall(head_of(8 * MIB + 1))
        status, answer = answer_of(connection)
    assert status == 413
    assert answer["error"]["type"] == "request_too_large"


def test_chunks_over_the_cap_are_413_before_the_last_one(server: ServerProcess) -> None:
    chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"
    with connect(server) as connection:
        connection.sendall(head_of(None))
        for _ in range(9):
            connection.sendall(chunk)
        assert answer_of(connection)[0] == 413  # and the body has no end yet


def test_body_of_just_the_cap_is_read(server: ServerProcess) -> None:
    data = body(max_tokens=1)
    data += b" " * (8 * MIB - len(data))
    for head, sent in (
        (head_of(len(data)), data),
        (head_of(None), b"800000\r\n" + data + b"\r\n0\r\n\r\n"),
    ):
        with connect(server) as connection:
            connection.sendall(head + sent)
            assert answer_of(connection)[0] == 200


def test_what_follows_a_413_on_the_same_connection_is_answered(server: ServerProcess) -> None:
    with connect(server) as connection:
        connection.sendall(head_of(9 * MIB) + b"x" * (9 * MIB))
        assert answer_of(connection)[0] == 413
        data = body(max_tokens=1)
        connection.sendall(head_of(len(data)) + data)
        assert answer_of(connection)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/v2", 404, "There is nothing at this path; see /openapi.json."),
        ("GET", COMPLETIONS, 405, "GET is not what this path takes; send a POST."),
        ("DELETE", "/v1/models", 405, "DELETE is not what this path takes; send a GET."),
    ],
)
def test_path_or_method_that_there_is_not_is_told_in_a_sentence(
    server: ServerProcess, method: str, path: str, status: int, sentence: str
) -> None:
    with connect(server) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        told, answer = answer_of(connection)
    assert (told, answer["error"]["message"]) == (status, sentence)
