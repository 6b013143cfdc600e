"""What the front door does not let through, and what it says then."""

from __future__ import annotations

import contextlib
import json
import socket
from urllib.parse import urlsplit

import pytest

from front_doors import Cluster, Process
from waiting import wait_until

KEY = "sesame-open"


@pytest.fixture(scope="module")
def locked(shared: Cluster, echo: Process) -> Process:
    return shared.front_door(MODCORE_API_KEY=KEY)


PATHS = ["/services", "/metrics", "/v1/models", "/v1/models/parrot", "/nowhere", "/openapi.json"]


@pytest.mark.parametrize("path", [*PATHS, "/call/echo", "/stream/echo", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "key", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY]
)
def test_every_path_asks_for_the_key(locked: Process, path: str, key: str | None) -> None:
    body = None if path in PATHS else {"args": [], "model": "parrot"}
    headers = {} if key is None else {"authorization": key}
    answer = locked.ask(path, body, **headers)
    assert answer.status == 401
    assert "API key" in answer.json["error"]["message"]


def test_the_cluster_token_is_no_key_of_the_front_door(locked: Process, door: Process) -> None:
    token = door.call("echo", "headers").json["result"]["authorization"]
    assert locked.call("echo", "x", authorization=token).status == 401
    assert locked.call("echo", "x", authorization=f"Bearer {KEY}").status == 200
    assert locked.call("echo", "x", authorization=f"bearer {KEY}").status == 200


@pytest.mark.parametrize("path", ["/health", "/readyz"])
def test_health_is_open(locked: Process, path: str) -> None:
    assert locked.ask(path).json["status"] == "ok"


def test_an_unknown_service_is_named_with_the_known_ones(door: Process) -> None:
    answer = door.call("ecco")
    assert answer.status == 404
    assert answer.json["error"]["message"] == (
        "No service 'ecco' is registered; registered are: echo."
    )


def test_an_unknown_model_is_an_error_of_openai_shape(door: Process) -> None:
    answer = door.ask("/v1/completions", {"model": "x" * 1000, "prompt": ""})
    error = answer.json["error"]
    assert answer.status == 404
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "served are: parrot" in error["message"] and len(error["message"]) < 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1]", "Expected `object`"),
        (b"{}", "missing required field `model`"),
        (b'{"model": 7}', "Expected `str`"),
        (b'{"model": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, ""),
        (b'{"a":' * 100_000, ""),
    ],
)
def test_a_body_without_a_model_is_refused_with_the_reason(
    door: Process, body: bytes, told: str
) -> None:
    answer = door.ask("/v1/completions", body)
    assert answer.status == 400
    assert told in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../_modcore/stop",
        "/v1/%2e%2e/_modcore/stop",
        "/v1/a/../../_modcore/stop",
        "/v1//_modcore",
        "/v1/x%0d%0aX: y",
        "/v1/x?y=../",
        "/call/echo/../../_modcore/stop",
        "/call/../_modcore/stop",
        "/call/%2e%2e",
        "/call/echo%2fx",
        "/call/a%20b",
        "/call/" + "a" * 129,
        "/_modcore/stop",
        "/stream/",
        "//call/echo",
        "/CALL/echo",
    ],
)
def test_no_path_leads_to_anything_but_calls(door: Process, echo: Process, path: str) -> None:
    before = echo.ask("/health").json["calls"]
    address = urlsplit(door.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        body = b'{"model": "nobody", "args": []}'
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        connection.sendall(head + body)
        status = connection.recv(4096).split(b" ")[1]
    assert status in (b"404", b"400")
    assert echo.ask("/health").json["calls"] == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_refused(door: Process, method: str) -> None:
    with contextlib.closing(door.connect()) as connection:
        connection.request(method, "/call/echo")
        assert connection.getresponse().status == 405


def test_a_body_over_the_cap_is_refused_before_it_is_sent(door: Process) -> None:
    for path, size in (
        ("/call/echo", 64 * 1024 * 1024 + 1),
        ("/v1/completions", 8 * 1024 * 1024 + 1),
    ):
        with contextlib.closing(door.connect()) as connection:
            connection.putrequest("POST", path)
            connection.putheader("content-length", str(size))
            connection.endheaders()
            assert connection.getresponse().status == 413


def test_a_body_that_grows_over_the_cap_is_refused_and_its_call_ends(
    door: Process, echo: Process
) -> None:
    part = b"x" * (1 << 20)
    with contextlib.closing(door.connect()) as connection:
        connection.putrequest("POST", "/call/echo")
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        with contextlib.suppress(ConnectionError):  # the answer may come before all is sent
            for _ in range(70):
                connection.send(b"%x\r\n%b\r\n" % (len(part), part))
        assert connection.getresponse().status == 413
    wait_until(lambda: not echo.ask("/health").json["under_way"])


def test_headers_over_the_cap_are_refused(door: Process) -> None:
    assert door.ask("/services", x_large="x" * 70_000).status == 431


def test_a_web_page_of_another_host_is_refused_while_there_is_no_key(door: Process) -> None:
    assert door.ask("/services", origin="https://example.org").status == 403
    assert door.call("echo", origin="http://localhost:3000").status == 200
    assert "access-control-allow-origin" not in door.call("echo").headers


@pytest.mark.parametrize("deadline", ["0", "-1", "nan", "soon", ""])
def test_a_deadline_that_is_none_is_refused(door: Process, deadline: str) -> None:
    answer = door.call("echo", x_modcore_deadline=deadline)
    assert answer.status == 400
    assert "x-modcore-deadline" in answer.json["error"]["message"]


def test_a_call_beyond_its_deadline_is_ended(door: Process, echo: Process) -> None:
    answer = door.call("echo", "wait", x_modcore_deadline="0.3")
    assert answer.status == 504
    assert answer.json["error"]["type"] == "DeadlineExceeded"
    assert answer.json["error"]["message"] == "There was no complete answer within 0.3 s."
    wait_until(lambda: not echo.ask("/health").json["under_way"])


def test_a_call_beyond_its_deadline_counts_for_its_service_as_504(door: Process) -> None:
    def counted() -> list[float]:
        return [
            door.metric("modcore_front_door_requests_total", service="echo", status="504"),
            door.metric("modcore_front_door_requests_total", service="echo", status="499"),
            door.metric("modcore_front_door_refused_total", status="504"),
        ]

    late, gone, refused = counted()
    assert door.call("echo", "wait", x_modcore_deadline="0.05").status == 504
    assert counted() == [late + 1, gone, refused]


def test_a_stream_beyond_its_deadline_ends_with_an_error(door: Process) -> None:
    answer = door.ask("/stream/echo", {"args": ["slow", 1000, 1]}, x_modcore_deadline="0.3")
    last = answer.body.split(b"\n\n")[-2].removeprefix(b"data: ")
    assert answer.status == 200
    assert json.loads(last)["error"]["type"] == "DeadlineExceeded"


def test_the_timeout_of_the_front_door_bounds_every_deadline(
    shared: Cluster, echo: Process
) -> None:
    door = shared.front_door("--timeout", "0.3")
    assert door.call("echo", "wait", x_modcore_deadline="1000").status == 504
    assert door.call("echo", "wait", x_modcore_deadline="inf").status == 504


def test_calls_over_the_capacity_are_told_to_come_again(shared: Cluster, echo: Process) -> None:
    door = shared.front_door("--capacity", "2", "--service-capacity", "1")
    with contextlib.closing(door.connect()) as connection:
        connection.request("POST", "/call/echo", json.dumps({"args": ["wait"]}))
        wait_until(lambda: door.metric("modcore_front_door_in_flight", service="echo") == 1)
        refused = door.call("echo")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert door.ask("/health").status == 200
    wait_until(lambda: door.call("echo").status == 200)
    with contextlib.closing(shared.front_door("--capacity", "1").connect()) as connection:
        connection.request("POST", "/call/echo", json.dumps({"args": ["wait"]}))
        wait_until(lambda: echo.ask("/health").json["under_way"])
        port = connection.port
        with contextlib.closing(type(connection)("127.0.0.1", port)) as other:
            other.request("POST", "/call/echo", json.dumps({"args": []}))
            response = other.getresponse()
            assert (response.status, response.headers["retry-after"]) == (503, "1")
