"""What passes the front door: calls, streams, large bodies, and what is told of them."""

from __future__ import annotations

import contextlib
import json
import threading

import psutil
import pytest

from front_doors import Cluster, Process
from waiting import wait_until

MIB = 1024 * 1024


def test_a_call_goes_to_the_service_and_its_answer_comes_back(door: Process, echo: Process) -> None:
    answer = door.call("echo", "hello", x_request_id="mine")
    assert answer.json == {"result": {"args": ["hello"], "kwargs": {}}, "by": echo.id}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "mine"


def test_a_request_without_an_id_gets_one(door: Process) -> None:
    told = door.call("echo", "headers")
    assert told.headers["x-request-id"] == told.json["result"]["x-request-id"]


def test_a_service_gets_the_cluster_token_and_not_what_the_client_sent_as_its_own(
    door: Process,
) -> None:
    told = door.call(
        "echo",
        "headers",
        authorization="Bearer client",
        cookie="a=b",
        x_modcore_detail="1",
        x_forwarded_for="1.2.3.4",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        x_modcore_deadline="7",
    ).json["result"]
    assert told["authorization"].startswith("Bearer ") and "client" not in told["authorization"]
    assert told["traceparent"].startswith("00-0af7651916cd43dd")
    assert 6 < float(told["x-modcore-deadline"]) <= 7
    assert not told.keys() & {"cookie", "x-modcore-detail", "x-forwarded-for"}


def test_what_a_service_says_beside_its_answer_stays_inside(door: Process) -> None:
    headers = door.call("echo", "headers").headers
    assert headers.keys() == {"date", "content-type", "content-length", "x-request-id"}


def test_an_error_of_the_service_is_passed_on(door: Process) -> None:
    answer = door.call("echo", "fail")
    assert (answer.status, answer.json) == (500, {"error": {"type": "KeyError", "message": "x"}})


def test_a_stream_comes_event_by_event(door: Process) -> None:
    with contextlib.closing(door.connect()) as connection:
        connection.request("POST", "/stream/echo", json.dumps({"args": ["slow", 5, 1]}))
        response = connection.getresponse()
        assert response.headers["content-type"] == "text/event-stream"
        first = response.readline() + response.readline()
        assert first == b'data: {"piece": "0"}\n\n'
        assert door.instances("echo")[0]["in_flight"] == 1  # there is more to come
        events = response.read().split(b"\n\n")
    assert events[-2:] == [b'data: {"done": true}', b""] and len(events) == 6


@pytest.mark.parametrize("size", [0, 10, MIB - 1, 3 * MIB])
def test_bytes_of_any_size_arrive_as_they_are(door: Process, size: int) -> None:
    answer = door.ask("/call/echo", b"x" * size or b"[]", content_type="application/x-msgpack")
    assert answer.json == {"result": size or 2, "type": "application/x-msgpack"}


def test_a_body_without_a_length_flows_through(door: Process) -> None:
    parts = [b"x" * 100_000] * 30
    with contextlib.closing(door.connect()) as connection:
        connection.request("POST", "/call/echo", iter(parts), encode_chunked=True)
        assert json.loads(connection.getresponse().read())["result"] == 3_000_000


def test_a_large_body_is_not_kept_in_memory(door: Process) -> None:
    process = psutil.Process(door.process.pid)
    before = process.memory_info().rss
    seen = []
    part = b"x" * MIB

    def parts() -> object:
        for _ in range(60):
            seen.append(process.memory_info().rss)
            yield part

    with contextlib.closing(door.connect()) as connection:
        connection.request("POST", "/call/echo", parts(), {"content-length": str(60 * MIB)})
        assert json.loads(connection.getresponse().read())["result"] == 60 * MIB
    assert max(seen) - before < 20 * MIB


def test_an_answer_is_held_back_when_the_client_does_not_read(door: Process) -> None:
    process = psutil.Process(door.process.pid)
    with contextlib.closing(door.connect()) as connection:
        before = process.memory_info().rss
        connection.request("POST", "/stream/echo", json.dumps({"args": ["x", 2000, 65536]}))
        response = connection.getresponse()
        wait_until(lambda: door.instances("echo")[0]["in_flight"] == 1)
        grown = max(process.memory_info().rss - before for _ in range(200))
        assert grown < 20 * MIB
        size = sum(len(part) for part in iter(lambda: response.read(MIB), b""))
    assert size > 2000 * 65536


def test_a_client_that_goes_away_ends_its_call(door: Process, echo: Process) -> None:
    before = door.metric("modcore_front_door_requests_total", service="echo", status="499")
    for what in ({"args": ["wait"]}, {"args": ["slow", 100000, 1]}):
        path = "/call/echo" if what["args"][0] == "wait" else "/stream/echo"
        connection = door.connect()
        connection.request("POST", path, json.dumps(what))
        wait_until(lambda: echo.ask("/health").json["under_way"])
        connection.sock.close()  # type: ignore[union-attr]
        connection.close()
        wait_until(lambda: not echo.ask("/health").json["under_way"])
    wait_until(lambda: door.metric("modcore_front_door_in_flight", service="echo") == 0)
    counted = door.metric("modcore_front_door_requests_total", service="echo", status="499")
    assert counted - before == 1  # the stream had a status already


def test_calls_at_once_all_get_their_own_answer(door: Process) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        with contextlib.closing(door.connect()) as connection:
            for turn in range(20):
                word = f"{number}-{turn}" * (1 + turn * 100)
                connection.request("POST", "/call/echo", json.dumps({"args": [word]}))
                if json.loads(connection.getresponse().read())["result"] != {"args": [word]}:
                    wrong.append(word)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_services_are_listed_without_their_urls_where_there_is_no_key(
    door: Process, echo: Process
) -> None:
    listed = door.ask("/services").json
    assert listed["status"] == "ok" and listed["snapshot_age"] < 10
    assert listed["refused_documents"] == 0
    (instance,) = listed["services"][0]["instances"]
    assert instance["id"] == echo.id and instance["state"] == "ready" and instance["age"] > 0
    assert instance["in_flight"] == 0 and instance["models"] == ["parrot"]
    assert "url" not in instance and echo.url not in json.dumps(listed)


def test_who_has_the_key_sees_urls(shared: Cluster, echo: Process) -> None:
    door = shared.front_door("--api-key", "sesame")
    listed = door.ask("/services", authorization="Bearer sesame").json
    assert listed["services"][0]["instances"][0]["url"] == echo.url


def test_models_are_routed_by_the_body(door: Process, echo: Process) -> None:
    answer = door.ask("/v1/chat/completions", {"messages": [], "model": "parrot"})
    assert answer.json["by"] == echo.id
    listed = door.ask("/v1/models").json
    assert [each["id"] for each in listed["data"]] == ["parrot"]
    assert door.ask("/v1/models/parrot").json == listed["data"][0]


def test_metrics_count_what_was_asked(door: Process) -> None:
    total = "modcore_front_door_requests_total"
    before = door.metric(total, service="echo", status="200")
    door.call("echo", "x")
    assert door.metric(total, service="echo", status="200") == before + 1
    assert door.metric("modcore_registry_instances", service="echo") == 1
    assert door.metric("modcore_registry_stale_seconds") < 10
    assert door.metric("modcore_front_door_request_seconds_count", service="echo") > before


def test_the_front_door_listens_once(door: Process) -> None:
    listening = [
        each
        for each in psutil.Process(door.process.pid).net_connections()
        if each.status == psutil.CONN_LISTEN
    ]
    assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
