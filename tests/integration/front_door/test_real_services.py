"""ServerModules behind the front door: every kind of body, errors without what is ours, a start and an end under load."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import modcore
from front_doors import Cluster, Process
from modcore.wire import MSGPACK, decode, encode
from waiting import wait_until


def work(what: str, value: Any = None) -> Any:
    if what == "fail":
        raise ValueError("this is no value")
    if what == "count":
        return (number for number in range(int(value)))
    if what == "break":
        return broken()
    return value


def broken() -> Iterator[int]:
    yield 1
    raise KeyError("in the middle")


@pytest.fixture(scope="module")
def service(shared: Cluster) -> Iterator[modcore.ServerModule]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared.environment.items():
            patch.setenv(name, value)
        module = modcore.ServerModule(work, "worker", gateway=shared.gateway, idempotent=True)
        module.start()
        yield module
        module.stop()


@pytest.fixture(scope="module")
def door(shared: Cluster, service: modcore.ServerModule) -> Process:
    door = shared.front_door()
    wait_until(lambda: door.instances("worker"))
    return door


def test_json_goes_through(door: Process) -> None:
    assert door.call("worker", "give", {"a": [1, None, "ü"]}).json == {
        "result": {"a": [1, None, "ü"]}
    }


def test_arrays_go_through(door: Process) -> None:
    array = np.arange(600_000, dtype=np.float32).reshape(3, -1)
    kind, body = encode({"args": ["give", array], "kwargs": {}})
    answer = door.ask("/call/worker", body, content_type=kind, accept=MSGPACK)
    assert answer.headers["content-type"] == MSGPACK
    assert np.array_equal(decode(answer.headers["content-type"], answer.body)["result"], array)


def test_an_error_has_its_type_and_message_and_nothing_of_ours(door: Process) -> None:
    answer = door.call("worker", "fail", x_modcore_detail="1")
    assert answer.status == 500
    assert answer.json == {"error": {"type": "ValueError", "message": "this is no value"}}


def test_a_stream_that_fails_has_its_error_and_nothing_of_ours(door: Process) -> None:
    body = {"args": ["break"], "kwargs": {}}
    events = door.ask("/stream/worker", body, x_modcore_detail="1").body.split(b"\n\n")
    error = json.loads(events[-2].removeprefix(b"data: "))["error"]
    assert error == {"type": "KeyError", "message": "in the middle"}


def test_arguments_that_do_not_fit_are_refused_by_the_service(door: Process) -> None:
    answer = door.ask("/call/worker", {"args": ["give", 1, 2, 3], "kwargs": {}})
    assert answer.status == 422


def test_bodies_that_are_no_calls_are_refused_by_the_service(door: Process) -> None:
    assert door.ask("/call/worker", b"{").status == 400
    assert door.ask("/call/worker", b"x", content_type="text/plain").status == 415


def test_the_front_door_knows_what_the_service_says_of_itself(door: Process) -> None:
    (instance,) = door.instances("worker")
    assert instance["module"] == "ActionModule"


def test_replicas_that_end_in_order_cost_no_call(shared: Cluster, door: Process) -> None:
    """Not idempotent: what drains hands its calls on or finishes them."""
    statuses: list[int] = []
    ends = threading.Event()

    def ask() -> None:
        with contextlib.closing(door.connect()) as connection:
            while not ends.is_set():
                body = json.dumps({"args": ["give", 1], "kwargs": {}})
                fields = {"content-type": "application/json"}
                connection.request("POST", "/call/pair", body, fields)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared.environment.items():
            patch.setenv(name, value)
        services = [modcore.ServerModule(work, "pair", gateway=shared.gateway) for _ in range(2)]
        for each in services:
            each.start()
        threads = [threading.Thread(target=ask) for _ in range(3)]
        try:
            wait_until(lambda: len(door.instances("pair")) == 2)
            for thread in threads:
                thread.start()
            wait_until(lambda: len(statuses) > 100)
            services[0].stop()
            before = len(statuses)
            wait_until(lambda: len(statuses) > before + 100)
        finally:
            ends.set()
            for thread in threads:
                thread.join()
            for each in services:
                each.stop()
    assert set(statuses) == {200}
