"""Redis killed, restarted without its data, hung, emptied: bounded calls, and a registry that is whole again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from heartbeats import HEARTBEAT, KEY, TTL, Services, timed
from modcore.gateway.base import Gateway, GatewayUnavailable
from modcore.gateway.instance import Instance
from redis_server import RedisServer
from waiting import wait_until

pytestmark = pytest.mark.fault

A_SECOND = 1.0
ANOTHER = Instance(service="other", url="http://127.0.0.1:9").entry(KEY)


def every_call(gateway: Gateway) -> list[Callable[[], object]]:
    return [
        lambda: gateway.register(ANOTHER, TTL),
        lambda: gateway.heartbeat(ANOTHER, TTL),
        lambda: gateway.resolve(),
        lambda: gateway.watch("", 0.2),
        lambda: gateway.watch("1-1", 0.2),
        lambda: gateway.deregister(ANOTHER),
    ]


def whole_again_after(services: Services) -> float:
    return wait_until(services.are_all_there, HEARTBEAT + 0.5, "all are registered again")


def test_redis_killed_for_longer_than_the_ttl(
    server: RedisServer, gateway: Gateway, services: Services
) -> None:
    server.kill()
    until = time.monotonic() + TTL + 0.5
    while time.monotonic() < until:
        for call in every_call(gateway):
            took, result = timed(call)
            assert isinstance(result, GatewayUnavailable)
            assert took < 0.2  # refused, not waited for
        time.sleep(0.1)
    assert services.errors
    server.start()
    assert gateway.resolve() == []
    whole_again_after(services)


def test_redis_restarted_empty(server: RedisServer, gateway: Gateway, services: Services) -> None:
    server.kill()
    server.start()
    gateway.resolve()  # at once, though connections of before are dead and its scripts forgotten
    whole_again_after(services)


def test_redis_hangs_for_four_seconds(
    server: RedisServer, gateway: Gateway, services: Services
) -> None:
    revision = gateway.watch("", 1)
    watching = ThreadPoolExecutor(1).submit(timed, lambda: gateway.watch(revision, 0.6))
    wait_until(lambda: blocked_clients(server) == 1, 5)
    server.suspend()
    until = time.monotonic() + 4
    try:
        took, result = watching.result()
        assert isinstance(result, GatewayUnavailable)
        assert took < 0.6 + 0.5 + 0.1
        while time.monotonic() < until:
            for call in every_call(gateway):
                took, result = timed(call)
                assert isinstance(result, GatewayUnavailable)
                assert took < 0.2 + 0.5 + 0.1
    finally:
        server.resume()
    whole_again_after(services)


def test_redis_hangs_and_many_ask(server: RedisServer, gateway: Gateway) -> None:
    gateway.resolve()
    server.suspend()
    try:
        with ThreadPoolExecutor(40) as pool:
            outcomes = list(pool.map(timed, [gateway.resolve] * 80))
    finally:
        server.resume()
    assert all(isinstance(result, GatewayUnavailable) for _, result in outcomes)
    assert max(took for took, _ in outcomes) < A_SECOND
    gateway.resolve()


def test_redis_emptied(server: RedisServer, gateway: Gateway, services: Services) -> None:
    revision = gateway.watch("", 1)
    woken = threading.Event()

    def watch() -> None:
        if gateway.watch(revision, 30) != revision:
            woken.set()

    thread = threading.Thread(target=watch)
    thread.start()
    wait_until(lambda: blocked_clients(server) == 1, 5)
    with server.client() as client:
        client.flushall()
        client.script_flush()
    whole_again_after(services)
    thread.join(1)
    assert woken.is_set()


def test_connections_cut_off_by_redis(
    server: RedisServer, gateway: Gateway, services: Services
) -> None:
    revision = gateway.watch("", 1)
    watching = ThreadPoolExecutor(1).submit(timed, lambda: gateway.watch(revision, 30))
    wait_until(lambda: blocked_clients(server) == 1, 5)
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    took, result = watching.result()
    assert isinstance(result, GatewayUnavailable)
    assert took < 5
    gateway.resolve()
    assert services.are_all_there()


def test_redis_busy_with_a_script_of_somebody_else_is_down(
    server: RedisServer, gateway: Gateway
) -> None:
    with server.client() as client:
        client.config_set("lua-time-limit", "50")
        with ThreadPoolExecutor(1) as pool, server.client() as other:
            pool.submit(other.eval, "while true do end", 0).add_done_callback(lambda _: None)
            wait_until(lambda: "BUSY" in str(timed(gateway.resolve)[1]), 5)
            client.execute_command("SCRIPT", "KILL")
    wait_until(lambda: timed(gateway.resolve)[1] == [], 5)


def test_closing_ends_a_watch(server: RedisServer, gateway: Gateway) -> None:
    revision = gateway.watch("", 1)
    watching = ThreadPoolExecutor(1).submit(timed, lambda: gateway.watch(revision, 30))
    wait_until(lambda: blocked_clients(server) == 1, 5)
    gateway.close()
    took, result = watching.result()
    assert isinstance(result, GatewayUnavailable)
    assert took < 5


def blocked_clients(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.info("clients")["blocked_clients"])
