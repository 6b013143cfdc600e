"""The process: its key, its borders, its end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from processes import children_of, is_running
from servers import ServerProcess, samples_of, serving
from waiting import wait_until

Serve = Callable[..., AbstractContextManager[ServerProcess]]

BODY = json.dumps({"prompt": "the", "max_tokens": 2}).encode()
JSON = {"content-type": "application/json"}


def ask(
    server: ServerProcess,
    method: str = "POST",
    path: str = "/v1/completions",
    body: bytes | None = BODY,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.request(method, path, body, {**JSON, **(headers or {})})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


@pytest.fixture(scope="module")
def locked(text_checkpoint: Path) -> Any:
    with serving(str(text_checkpoint), MODCORE_API_KEY="s3cret") as server:
        yield server


@pytest.mark.parametrize(
    "header",
    [None, "Bearer wrong", "Bearer ", "s3cret", "Basic s3cret", "Bearer s3cret2", "Bearer \xff"],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/models", "/openapi.json", "/nowhere"])
def test_without_the_key_every_path_is_401(
    locked: ServerProcess, path: str, header: str | None
) -> None:
    status, answer = ask(locked, path=path, headers={"authorization": header} if header else None)
    assert status == 401
    assert answer["error"]["code"] == "invalid_api_key"
    assert "s3cret" not in json.dumps(answer)


def test_with_the_key_the_client_is_answered_and_health_is_open(locked: ServerProcess) -> None:
    answer = locked.client("s3cret").completions.create(
        model="tiny-llama", prompt="a", max_tokens=1
    )
    assert answer.usage and answer.usage.completion_tokens == 1
    with pytest.raises(openai.AuthenticationError):
        locked.client("wrong").models.list()
    assert ask(locked, "GET", "/health", None) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/completions", b"{", 400),
        ("POST", "/v1/completions", b"", 400),
        ("POST", "/v1/completions", b"[]", 400),
        ("POST", "/v1/completions", b'"text"', 400),
        ("POST", "/v1/completions", b"null", 400),
        ("POST", "/v1/completions", b"\xff\xfe{}", 400),
        ("POST", "/v1/completions", b"[" * 100_000, 400),
        ("POST", "/v1/completions", b"{}", 400),
        ("POST", "/v1/completions", b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        ("POST", "/v1/completions", b'{"user": ' * 90_000, 400),
        ("POST", "/v1/completions", b'{"prompt": "\xff"}', 400),
        ("POST", "/v1/completions", b'{"prompt": "a", "temperature": NaN}', 400),
        ("POST", "/v1/completions", b'{"prompt": "a", "prompt": "b"}', 400),
        ("POST", "/v1/completions", b'{"prompt": "a", "logit_bias": {"1": 1, "1": 2}}', 400),
        ("POST", "/v1/completions", b'{"prompt": "a", "n": ' + b"1" * 5000 + b"}", 400),
        ("POST", "/v1/completions", b'{"prompt": "half \\ud800"}', 400),
        ("POST", "/v1/chat/completions", b'{"messages": "hi"}', 400),
        ("POST", "/v1/completions", b"x" * (9 << 20), 413),
        ("GET", "/v1/completions", None, 405),
        ("GET", "/v1/embeddings", None, 404),
        ("GET", "/docs", None, 404),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_malformed_request_gets_an_openai_shaped_error(
    server: ServerProcess, method: str, path: str, body: bytes | None, status: int
) -> None:
    got, answer = ask(server, method, path, body)
    assert got == status
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer["error"]["message"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example:8000", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://localhost:3000", 200),
        ("http://127.0.0.1:8000", 200),
    ],
)
def test_web_page_of_another_host_is_not_answered_without_a_key(
    server: ServerProcess, origin: str, status: int
) -> None:
    assert ask(server, headers={"origin": origin})[0] == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "json", ""])
def test_other_content_type_is_415(server: ServerProcess, kind: str) -> None:
    status, answer = ask(server, headers={"content-type": kind})
    assert status == 415
    assert "application/json" in answer["error"]["message"]
    assert ask(server, headers={"content-type": "Application/JSON; charset=utf-8"})[0] == 200


def test_json_error_says_where(server: ServerProcess) -> None:
    _, answer = ask(server, body=b'{"prompt": nonsense}')
    assert "at 11" in answer["error"]["message"]


def test_body_over_the_cap_without_a_declared_length_is_413(server: ServerProcess) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    chunks = (b"x" * (1 << 20) for _ in range(12))
    connection.request("POST", "/v1/completions", chunks, JSON, encode_chunked=True)
    assert connection.getresponse().status == 413
    assert ask(server)[0] == 200


def test_caller_who_hangs_up_leaves_the_server_free(server: ServerProcess) -> None:
    body = json.dumps({"prompt": "the", "max_tokens": 500, "temperature": 0, "stream": True})
    address = urlsplit(server.url)
    for stream in (True, False):
        request = json.dumps({**json.loads(body), "stream": stream}).encode()
        for _ in range(10):
            with socket.create_connection((address.hostname, address.port)) as connection:
                head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(request)}\r\n\r\n"
                connection.sendall(head.encode() + request)
                if stream:
                    connection.recv(1)
    start = time.monotonic()
    assert ask(server)[0] == 200
    # Twenty full answers take far longer than the two tokens that are asked for here.
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_server_with_exit_code_0_even_while_it_streams(
    serve: Serve, text_checkpoint: Path, number: int
) -> None:
    with serve(str(text_checkpoint)) as server:
        stream = server.client().completions.create(
            model="tiny-llama", prompt="the", max_tokens=500, temperature=0, stream=True
        )
        next(iter(stream))
        assert server.stop(number) == 0
        assert server.errors == []


def test_signal_answers_whoever_waits_with_503_and_says_nothing(
    serve: Serve, text_checkpoint: Path
) -> None:
    body = json.dumps({"prompt": ["the"] * 50, "max_tokens": 500, "temperature": 0}).encode()
    with serve(str(text_checkpoint)) as server, ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(ask, server, body=body) for _ in range(20)]
        wait_until(lambda: has_begun(server) == 20 * 50, 60)  # no caller is on its way any more
        assert server.stop() == 0
        assert {answer.result()[0] for answer in answers} <= {200, 503}
    assert server.errors == []


def has_begun(server: ServerProcess) -> float:
    """The answers that run, wait, or are finished."""
    names = ("num_requests_running", "num_requests_waiting", "request_success_total")
    return sum(value for (name, _), value in samples_of(server).items() if name in names)


def test_headers_over_the_cap_are_431(server: ServerProcess) -> None:
    assert ask(server, headers={"x-padding": "x" * (65 << 10)})[0] == 431


def test_body_that_is_announced_far_over_the_cap_is_not_waited_for(server: ServerProcess) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as caller:
        caller.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n"
        )
        assert b" 413 " in caller.recv(100)


def test_model_name_is_what_clients_use(serve: Serve, text_checkpoint: Path) -> None:
    with serve(str(text_checkpoint), "--model-name", "org/poet-1") as server:
        client = server.client()
        assert [model.id for model in client.models.list()] == ["org/poet-1"]
        assert client.models.retrieve("org/poet-1").id == "org/poet-1"
        assert client.completions.create(model="org/poet-1", prompt="a", max_tokens=1)


def serve_and_fail(*words: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "modcore", "serve", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.invalid"])
def test_public_address_without_a_key_is_refused(text_checkpoint: Path, host: str) -> None:
    code, said = serve_and_fail(str(text_checkpoint), "--host", host)
    assert code == 2
    assert "--host" in said and "MODCORE_API_KEY" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "70000"], "--port"),
        (["--port", "http"], "--port"),
        (["--host", "not a host", "--api-key", "k"], "--host"),
        (["--api-key", ""], "--api-key"),
        (["--model-name", ""], "--model-name"),
        (["--dtype", "int3"], "--dtype"),
    ],
)
def test_wrong_option_is_named_with_exit_code_2(
    text_checkpoint: Path, words: list[str], said: str
) -> None:
    code, errors = serve_and_fail(str(text_checkpoint), *words)
    assert code == 2
    assert said in errors


def test_taken_port_is_one_sentence(text_checkpoint: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = serve_and_fail(str(text_checkpoint), "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert str(taken) not in said and "--port" in said


def test_checkpoint_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    code, said = serve_and_fail(str(tmp_path / "nowhere"), "--port", "0")
    assert code == 1
    assert "nowhere" in said and said.count("\n") == 1


def test_signal_ends_the_server_although_a_caller_does_not_read(
    serve: Serve, text_checkpoint: Path
) -> None:
    asked = {"prompt": ["the"] * 200, "max_tokens": 500, "temperature": 0, "stream": True}
    body = json.dumps(asked).encode()
    with serve(str(text_checkpoint)) as server:
        address = urlsplit(server.url)
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.connect((address.hostname, address.port))
            head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            caller.sendall(head.encode() + body)
            caller.recv(100)
            assert server.stop() == 0
        assert "Traceback" not in "".join(server.errors)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_process_that_tries_schemas_is_there_from_the_start_and_ends_with_the_server(
    serve: Serve, text_checkpoint: Path, how: int
) -> None:
    with serve(str(text_checkpoint)) as server:
        [helper] = children_of(server.process.pid)
        asked = {"prompt": "the", "json_schema": {"type": "integer", "multipleOf": 1_000_003}}
        status, answer = ask(server, body=json.dumps(asked).encode())
        assert (status, answer["error"]["param"]) == (400, "json_schema")
        os.kill(helper, signal.SIGKILL)
        assert ask(server, body=json.dumps(asked).encode())[0] == 400
        [another] = children_of(server.process.pid)
        assert another != helper
        server.stop(how)
        wait_until(lambda: not is_running(another), 10, "it ends with the server")
