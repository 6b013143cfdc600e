"""Instances that come, go, die, and say that they are busy; a store that does not answer."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from http.client import HTTPException, IncompleteRead
from pathlib import Path

import pytest

from front_doors import Cluster, Process
from waiting import wait_until


def answered(door: Process, service: str) -> set[str]:
    """Who answers 30 calls."""
    answers = [door.call(service, "x") for _ in range(30)]
    assert {answer.status for answer in answers} == {200}, answers
    return {answer.json["by"] for answer in answers}


def test_instances_are_used_as_they_come_and_go(cluster: Cluster) -> None:
    door = cluster.front_door()
    assert door.call("echo", "x").status == 404
    first = cluster.service("echo")
    wait_until(lambda: door.call("echo", "x").status == 200)
    second = cluster.service("echo")
    wait_until(lambda: answered(door, "echo") == {first.id, second.id})
    first.stop()
    wait_until(lambda: len(door.instances("echo")) == 1)
    assert answered(door, "echo") == {second.id}
    wait_until(lambda: len(door.errors) >= 3)
    assert [line.partition(" at ")[0] for line in door.errors] == [
        f"up: echo {first.id}",
        f"up: echo {second.id}",
        f"gone: echo {first.id}",
    ]
    assert door.metric("modcore_registry_evictions_total", service="echo") == 1


def test_a_killed_instance_costs_no_call_of_an_idempotent_service(cluster: Cluster) -> None:
    services = [cluster.service("echo", "--idempotent") for _ in range(3)]
    door = cluster.front_door()
    wait_until(lambda: len(door.instances("echo")) == 3)
    statuses: list[int] = []
    ends = threading.Event()

    def work() -> None:
        with contextlib.closing(door.connect()) as connection:
            while not ends.is_set():
                connection.request("POST", "/call/echo", json.dumps({"args": ["x"]}))
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) > 200)
    services[0].stop(signal.SIGKILL)
    killed, before = time.monotonic(), len(statuses)
    wait_until(lambda: len(door.instances("echo")) == 2)
    assert time.monotonic() - killed < 1.5 + 0.5 + 2.0  # TTL, what it may be late, our looking
    wait_until(lambda: len(statuses) > before + 200)
    ends.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_call_in_flight_is_repeated_only_where_that_does_no_harm(
    cluster: Cluster, idempotent: bool
) -> None:
    words = ["--idempotent"] if idempotent else []
    for _ in range(2):
        cluster.service("echo", *words)
    door = cluster.front_door()
    wait_until(lambda: len(door.instances("echo")) == 2)
    # The first dies of the call, and so does the second when the call is made again.
    answer = door.call("echo", "die")
    assert answer.status == 502
    assert "whether the call was made is not known" in answer.json["error"]["message"]
    alive = {True: 0, False: 1}[idempotent]
    wait_until(lambda: len(door.instances("echo")) == alive)
    retries = door.metric("modcore_front_door_retries_total", service="echo", reason="died")
    assert retries == int(idempotent)


def test_a_busy_instance_passes_its_calls_to_another(cluster: Cluster) -> None:
    first, second = cluster.service("echo"), cluster.service("echo")
    door = cluster.front_door()
    wait_until(lambda: len(door.instances("echo")) == 2)
    door.call("echo", "busy")
    assert len(answered(door, "echo")) == 1
    assert door.metric("modcore_front_door_retries_total", reason="busy") > 0
    door.call("echo", "busy")
    refused = door.call("echo", "x")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert not any(each["ejected"] for each in door.instances("echo"))
    assert {first.id, second.id} == {each["id"] for each in door.instances("echo")}


def test_a_refused_connection_is_tried_elsewhere_and_left_out_then(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    dead = cluster.service("echo", "--url", f"http://127.0.0.1:{port}")
    lives = cluster.service("echo")
    door = cluster.front_door()
    wait_until(lambda: len(door.instances("echo")) == 2)
    assert answered(door, "echo") == {lives.id}
    ejected = {each["id"]: each["state"] for each in door.instances("echo")}
    assert ejected == {dead.id: "ejected", lives.id: "ready"}
    lives.stop(signal.SIGKILL)
    answer = door.call("echo", "x")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_a_stream_that_is_cut_off_ends_with_an_error_and_no_half_event(cluster: Cluster) -> None:
    cluster.service("echo", "--model", "parrot")
    door = cluster.front_door()
    wait_until(lambda: door.instances("echo"))
    events = door.ask("/stream/echo", {"args": ["die", 2, 1]}).body.split(b"\n\n")
    assert events[:2] == [b'data: {"piece": "0"}', b'data: {"piece": "1"}']
    (last,) = events[2:-1]
    assert json.loads(last.removeprefix(b"data: ")) == {
        "error": {
            "type": "BadGateway",
            "message": "The instance of 'echo' ended in the middle of its answer.",
        }
    }


def test_an_answer_that_is_cut_off_is_never_whole(cluster: Cluster) -> None:
    cluster.service("echo")
    door = cluster.front_door()
    wait_until(lambda: door.instances("echo"))
    with contextlib.closing(door.connect()) as connection:
        connection.request("POST", "/call/echo", json.dumps({"args": ["half"]}))
        with pytest.raises((IncompleteRead, HTTPException, ConnectionError)):
            connection.getresponse().read()


def test_a_forged_document_is_ignored_and_counted(cluster: Cluster) -> None:
    cluster.service("echo", MODCORE_CLUSTER_KEY="another cluster's key")
    cluster.service("echo", "--url", "http://169.254.169.254:80")
    lives = cluster.service("echo")
    door = cluster.front_door()
    wait_until(lambda: door.instances("echo"))
    assert [each["id"] for each in door.instances("echo")] == [lives.id]
    assert door.ask("/services").json["refused_documents"] == 2
    assert door.metric("modcore_registry_refused_documents_total") == 2


def test_without_a_store_a_new_front_door_uses_what_the_last_one_knew(cluster: Cluster) -> None:
    service = cluster.service("echo")
    first = cluster.front_door()
    wait_until(lambda: first.instances("echo"))
    break_store(cluster)
    wait_until(lambda: first.ask("/readyz").json["status"] == "degraded")
    assert answered(first, "echo") == {service.id}
    first.stop()
    second = cluster.front_door()
    assert answered(second, "echo") == {service.id}
    ready = second.ask("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert ready.json["snapshot_age"] > 0
    assert any("instances known from" in line for line in second.errors)


def test_without_a_store_and_without_a_snapshot_it_opens_and_says_that_it_is_not_ready(
    cluster: Cluster,
) -> None:
    break_store(cluster)
    door = cluster.front_door()
    assert door.ask("/health").status == 200
    assert (door.ask("/readyz").status, door.ask("/readyz").json["status"]) == (503, "starting")
    assert any("trying again" in line for line in door.errors)
    mend_store(cluster)
    wait_until(lambda: door.ask("/readyz").status == 200)


def break_store(cluster: Cluster) -> None:
    """Put a directory where the file was: no process can read it, whatever it has open."""
    path = Path(cluster.gateway.removeprefix("sqlite:///"))
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    path.mkdir()


def mend_store(cluster: Cluster) -> None:
    Path(cluster.gateway.removeprefix("sqlite:///")).rmdir()
