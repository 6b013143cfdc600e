"""A Redis that dies, comes back empty, or hangs: calls through the front door go on."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import front_doors
from front_doors import Process
from redis_server import RedisServer, redis_server
from waiting import wait_until

TTL, HEARTBEAT = 1.5, 0.5


class Caller:
    """Calls without a pause, until it is left; `statuses` are what came of it."""

    def __init__(self, door: Process) -> None:
        self._door, self.statuses = door, list[int]()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _call(self) -> None:
        with contextlib.closing(self._door.connect()) as connection:
            while not self._ends.wait(0.005):
                connection.request("POST", "/call/echo", json.dumps({"args": ["x"]}))
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["killed", "emptied", "suspended"])
def test_calls_go_on_without_redis(redis: RedisServer, tmp_path: Path, fault: str) -> None:
    with front_doors.cluster(tmp_path, redis.url) as cluster:
        for _ in range(3):
            cluster.service("echo", "--idempotent")
        door = cluster.front_door()
        wait_until(lambda: len(door.instances("echo")) == 3)
        with Caller(door) as caller:
            if fault == "emptied":
                redis.client().flushall()
            else:
                redis.kill() if fault == "killed" else redis.suspend()
                wait_until(lambda: door.metric("modcore_registry_stale_seconds") > TTL + 1)
                assert door.ask("/readyz").json["status"] == "degraded"
                redis.start() if fault == "killed" else redis.resume()
            wait_until(lambda: redis.client().dbsize() > 0)
            wait_until(lambda: door.ask("/readyz").json["status"] == "ok")
            wait_until(lambda: len(door.instances("echo")) == 3)
            before = len(caller.statuses)
            wait_until(lambda: len(caller.statuses) > before + 50)
        assert set(caller.statuses) == {200}
