"""The HTTP contract of a service, spoken by hand over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modcore.errors import ServiceError
from modcore.serve.module_app import ModuleApp
from service_modules import TOKEN, Echo
from services import ServiceProcess, service
from waiting import wait_until

MSGPACK = "application/x-msgpack"


@pytest.fixture(scope="module")
def sync() -> Iterator[ServiceProcess]:
    with service("Sync") as running:
        yield running


@pytest.fixture(scope="module")
def typed() -> Iterator[ServiceProcess]:
    with service("Typed", tells_tracebacks=False) as running:
        yield running


@pytest.fixture(scope="module")
def same() -> Iterator[ServiceProcess]:
    with service("Same") as running:
        yield running


def body(*args: Any, **kwargs: Any) -> bytes:
    return json.dumps({"args": args, "kwargs": kwargs}).encode()


def test_call_is_json_in_and_json_out(same: ServiceProcess) -> None:
    status, headers, content = same.ask("POST", "/call", body({"x": [1, "ü", None]}))
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(content) == {"result": {"x": [1, "ü", None]}}


def test_msgpack_goes_both_ways_for_who_asks(same: ServiceProcess) -> None:
    sent = msgspec.msgpack.encode({"args": [b"\xff"]})
    status, headers, content = same.ask(
        "POST", "/call", sent, content_type=MSGPACK, accept=f"{MSGPACK}, */*"
    )
    assert (status, headers["content-type"]) == (200, MSGPACK)
    assert msgspec.msgpack.decode(content) == {"result": b"\xff"}
    status, error = same.error("POST", "/call", sent, content_type=MSGPACK)
    assert (status, error["type"]) == (500, "CannotTravel")
    assert MSGPACK in error["message"]


def test_stream_is_events_the_last_of_which_is_done_or_error(sync: ServiceProcess) -> None:
    def events(*args: Any) -> list[Any]:
        status, headers, content = sync.ask("POST", "/stream", body(*args))
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        return [json.loads(line[6:]) for line in content.decode().split("\n\n") if line]

    assert events("lines", 2) == [{"piece": 0}, {"piece": 1}, {"done": True}]
    assert events("echo", 7) == [{"piece": 7}, {"done": True}]
    *pieces, last = events("lines", 9)
    assert pieces == [{"piece": 0}, {"piece": 1}, {"piece": 2}]
    assert last == {"error": {"type": "ValueError", "message": "no more than 3"}}


@pytest.mark.parametrize(
    "path",
    ["/call", "/stream", "/metrics", "/openapi.json", "/_modcore/stop", "/_modcore/logs", "/", "/v1/models", "/x/../health", "/health/", "//health"],
)  # fmt: skip
@pytest.mark.parametrize(
    "key",
    ["", "Bearer wrong", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer \xff"],
)
def test_without_the_token_every_path_is_401(same: ServiceProcess, path: str, key: str) -> None:
    for method in ("GET", "POST"):
        status, error = same.error(method, path, authorization=key)
        assert (status, error["type"]) == (401, "Unauthorized")
        assert TOKEN not in json.dumps(error)


def test_health_and_readiness_are_open(same: ServiceProcess) -> None:
    for path in ("/health", "/readyz"):
        assert same.ask("GET", path, authorization="")[0] == 200
    assert same.ask("GET", "/health", authorization=f"bearer   {TOKEN}")[0] == 200


def test_unknown_paths_methods_and_content_types_are_named(same: ServiceProcess) -> None:
    assert same.error("GET", "/nowhere")[0] == 404
    assert same.error("GET", "/v1/models")[0] == 404
    status, headers, _ = same.ask("GET", "/call")
    assert (status, headers["allow"]) == (405, "POST")
    assert same.error("DELETE", "/metrics")[0] == 405
    assert same.error("POST", "/call", body(1), content_type="text/plain")[0] == 415
    assert (
        same.ask("POST", "/call", body(1), content_type="Application/JSON; charset=utf-8")[0] == 200
    )


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "byte 0"),
        (b'{"args": [1,}', "byte 12"),
        (b'{"args": [NaN]}', "byte 10"),
        (b'{"args": ["\xff"]}', "byte 11"),
        (b'{"args": [1], "args": [2]}', "twice"),
        (b"[]", "list"),
        (b'{"args": 3}', "args has to be a list"),
        (b'{"args": {}}', "args has to be a list"),
        (b'{"kwargs": []}', "kwargs has to be an object"),
        (b'{"arguments": []}', "no 'arguments'"),
        (b'{"args": [' + b"[" * 100_000, "deep"),
        (b'{"args": [' + b"1" * 10_000 + b"]}", "too large"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_malformed_json_is_400_with_the_place(
    same: ServiceProcess, sent: bytes, words: str
) -> None:
    status, error = same.error("POST", "/call", sent)
    assert (status, error["type"]) == (400, "BadRequest")
    assert words in error["message"]


@pytest.mark.parametrize(
    "sent",
    [b"\xdd\xff\xff\xff\xff", b"\xc1", b"\x81\xa4args\x91\xc7\x01\x14\x00", b"\x91" * 10_000],
)
def test_malformed_msgpack_is_400(same: ServiceProcess, sent: bytes) -> None:
    status, error = same.error("POST", "/call", sent, content_type=MSGPACK)
    assert (status, error["type"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("args", "kwargs", "culprit"),
    [
        ([], {"point": {"x": 1}}, "text"),
        (["a"], {}, "point"),
        (["a", 1, 2], {"point": {"x": 1}}, "args[2]"),
        (["a"], {"point": {"x": 1}, "colour": 1}, "colour"),
        (["a"], {"point": {"x": 1}, "times": 1}, "times"),
    ],
)
def test_arguments_that_do_not_fit_are_422_naming_the_argument(
    typed: ServiceProcess, args: list[Any], kwargs: dict[str, Any], culprit: str
) -> None:
    for path in ("/call", "/stream"):
        status, error = typed.error("POST", path, body(*args, **kwargs))
        assert (status, error["type"], error["argument"]) == (422, "TypeError", culprit)
    with pytest.raises(TypeError, match="forward"):
        typed.remote.call(tuple(args), kwargs)


def test_openapi_describes_forward_by_its_hints(typed: ServiceProcess) -> None:
    page = json.loads(typed.ask("GET", "/openapi.json")[2])
    schemas = page["components"]["schemas"]
    call = schemas["Call"]["properties"]
    text, times = call["args"]["prefixItems"]
    assert text == {"title": "text", "type": "string"}
    assert times == {"title": "times", "type": "integer", "default": 2}
    assert call["args"]["items"] is False
    assert call["kwargs"]["properties"]["point"]["required"] == ["x"]
    assert call["kwargs"]["properties"]["thread"] == {"default": None}
    result = page["paths"]["/call"]["post"]["responses"]["200"]["content"]["application/json"]
    assert result["schema"]["properties"]["result"]["items"] == {"type": "string"}


def test_foreign_client_gets_type_and_message_and_no_path_or_traceback(
    sync: ServiceProcess,
) -> None:
    status, error = sync.error("POST", "/call", body("chain"))
    assert (status, error) == (
        500,
        {"type": "FileNotFoundError", "message": "No such file or directory"},
    )
    status, error = sync.error("POST", "/call", body("chain"), x_modcore_detail="1")
    assert "do_chain" in error["traceback"]
    with service("Sync", tells_tracebacks=False) as shared:
        status, error = shared.error("POST", "/call", body("chain"), x_modcore_detail="1")
    assert set(error) == {"type", "message"}


def test_handle_gets_the_error_with_notes_cause_and_traceback(sync: ServiceProcess) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        sync("chain")
    assert caught.value.filename == "/secret/place"
    assert caught.value.__notes__[0] == "look elsewhere"
    assert "do_chain" in caught.value.__notes__[1]
    assert "uvicorn" not in caught.value.__notes__[1]
    assert repr(caught.value.__cause__) == "KeyError('missing')"


def test_metrics_count_calls_refusals_and_what_is_in_flight(sync: ServiceProcess) -> None:
    before = sync.metric("calls_total")
    for _ in range(3):
        sync("echo", 1)
    assert sync.metric("calls_total") == before + 3
    assert sync.metric("calls_in_flight") == 0
    assert sync.metric("call_seconds_count") == sync.metric("calls_total")


def test_a_service_says_which_instance_it_is(same: ServiceProcess) -> None:
    with service("Same", instance="i1") as running:
        for path in ("/health", "/readyz"):
            status, headers, _ = running.ask("GET", path)
            assert (status, headers["x-modcore-instance"]) == (200, "i1")
            assert "x-modcore-state" not in headers
    assert "x-modcore-instance" not in same.ask("GET", "/health")[1]


def test_logs_are_the_last_lines_of_the_log_file(tmp_path: Path, same: ServiceProcess) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(500)))
    with service("Same", {"MODCORE_LOG_FILE": str(log)}) as running:
        assert running.ask("GET", "/_modcore/logs?lines=2")[2] == b"line 498\nline 499\n"
        assert len(running.ask("GET", "/_modcore/logs")[2].splitlines()) == 100
        assert running.ask("GET", "/_modcore/logs?lines=0")[2] == b""
        for bad in ("-1", "x", "99999999999", "%00"):
            assert running.error("GET", f"/_modcore/logs?lines={bad}")[0] == 400
    assert same.error("GET", "/_modcore/logs")[0] == 404


def test_web_socket_is_refused(same: ServiceProcess) -> None:
    status, _, _ = same.ask(
        "GET", "/call", connection="Upgrade", upgrade="websocket", sec_websocket_version="13",
        sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    assert status == 405


def test_empty_token_is_no_open_door() -> None:
    with pytest.raises(ServiceError, match="token"):
        ModuleApp(Echo(), "")


def test_calls_beyond_the_capacity_are_503_busy_and_have_not_begun() -> None:
    with service("Sync", capacity=2) as running, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(running, "wait", 1.0) for _ in range(2)]
        wait_until(lambda: running.metric("calls_in_flight") == 2)
        status, headers, _ = running.ask("POST", "/call", body("wait", 0))
        assert (status, headers["retry-after"], headers["x-modcore-state"]) == (503, "1", "busy")
        assert running.ask("GET", "/health")[0] == 200
        assert [each.result() for each in waiting] == ["done", "done"]
        assert running("notes").count("begun") == 2
        assert running.metric("calls_refused_total") == 1


def test_pipelined_requests_are_answered_in_order(same: ServiceProcess) -> None:
    with same.open_socket() as caller:
        for number in range(3):
            sent = body(number)
            caller.sendall(
                f"POST /call HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n".encode()
                + sent
            )
        answers = b""
        while answers.count(b"result") < 3:
            answers += caller.recv(4096)
    places = [answers.index(b'"result":%d' % number) for number in range(3)]
    assert places == sorted(places)
