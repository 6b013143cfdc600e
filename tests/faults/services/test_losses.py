"""Replicas and stores that die under load: no call of an idempotent module fails."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import modcore
from calling import calling
from modcore.gateway.connect import connect
from modcore.gateway.settings import heartbeat
from redis_server import RedisServer
from served_modules import Worker
from waiting import wait_until

TTL = 3.0
SLACK = 0.5  # seconds beside what the protocol itself takes
PATIENCE = 30.0


@contextlib.contextmanager
def three_workers(gateway: str, restarts: int = 0) -> Iterator[modcore.ServerModule]:
    module = modcore.ServerModule(
        Worker(), "worker", gateway=gateway, replicas=3, idempotent=True, restarts=restarts
    )
    module.start()
    try:
        wait_until(lambda: registered(gateway) == 3, PATIENCE)
        yield module
    finally:
        module.stop()


def registered(gateway: str) -> int:
    """How many instances the store itself knows now."""
    with contextlib.closing(connect(gateway)) as store:
        return len(store.resolve("worker"))


def test_killed_replica_costs_no_call_and_is_gone_after_its_time(gateway: str) -> None:
    with three_workers(gateway) as module:
        with calling(lambda: module("echo", 1)) as calls:
            wait_until(lambda: calls.made >= 50, PATIENCE)
            os.kill(module("pid"), signal.SIGKILL)
            gone = wait_until(lambda: registered(gateway) == 2, TTL + SLACK, "it is forgotten")
        assert calls.failures == []
        assert calls.made > 100 * gone
        assert len(module.urls) == 2


def test_killed_replica_is_there_again_under_load(gateway: str) -> None:
    with three_workers(gateway, restarts=3) as module:
        with calling(lambda: module("echo", 1)) as calls:
            os.kill(module("pid"), signal.SIGKILL)
            wait_until(lambda: len(module.urls) == 2, PATIENCE)
            wait_until(lambda: len(module.urls) == 3, PATIENCE, "it has been started again")
            wait_until(lambda: registered(gateway) == 3, PATIENCE)
        assert calls.failures == []


def test_hung_replica_is_left_out_by_calls_with_a_deadline(gateway: str) -> None:
    """One that answers nothing is no closed door: the calls that it has taken end with their deadline."""
    with three_workers(gateway) as module:
        module.deadline = 1.0
        module.start()
        hung = module("pid")
        os.kill(hung, signal.SIGSTOP)
        try:
            with calling(lambda: module("pid"), rate=50) as calls:
                wait_until(lambda: registered(gateway) == 2, TTL + SLACK)
        finally:
            os.kill(hung, signal.SIGCONT)
        assert all(isinstance(error, TimeoutError) for error in calls.failures)
        assert len(calls.failures) < calls.made / 2


def test_redis_that_is_down_for_longer_than_the_ttl_and_comes_back_empty(
    redis: RedisServer,
) -> None:
    with three_workers(redis.url) as module, calling(lambda: module("echo", 1)) as calls:
        redis.kill()
        time.sleep(TTL + 1)  # the fault itself: it lasts that long
        assert len(calls.failures) == 0
        redis.start()
        wait_until(lambda: registered(redis.url) == 3, heartbeat(TTL) + SLACK, "it is whole")
    assert calls.failures == []


def test_redis_that_is_emptied(redis: RedisServer) -> None:
    with three_workers(redis.url) as module, calling(lambda: module("echo", 1)) as calls:
        with redis.client() as client:
            client.flushall()
        wait_until(lambda: registered(redis.url) == 3, heartbeat(TTL) + SLACK, "it is whole")
        enough = calls.made + 100
        wait_until(lambda: calls.made >= enough, PATIENCE)
    assert calls.failures == []


def test_redis_that_hangs(redis: RedisServer) -> None:
    with three_workers(redis.url) as module, calling(lambda: module("echo", 1)) as calls:
        redis.suspend()
        time.sleep(4)  # the fault itself
        redis.resume()
        wait_until(lambda: registered(redis.url) == 3, heartbeat(TTL) + SLACK, "it is whole")
    assert calls.failures == []


def test_service_starts_and_answers_while_the_store_is_down(redis: RedisServer) -> None:
    redis.kill()
    module = modcore.ServerModule(Worker(), "worker", gateway=redis.url).start()
    try:
        assert module("echo", 1) == [[1], {}]
        redis.start()
        wait_until(lambda: registered(redis.url) == 1, heartbeat(TTL) + SLACK)
    finally:
        module.stop()
