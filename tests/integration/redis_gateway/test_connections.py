"""The connections of a gateway: named, bounded, given back, and a forked child's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from modcore.gateway.base import Entry
from modcore.gateway.connect import connect
from modcore_redis_gateway.gateway import RedisGateway
from redis_server import RedisServer, redis_server
from waiting import wait_until

ONE = Entry(service="echo", id="one", epoch="first", document="{}")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def our_clients(server: RedisServer) -> int:
    with server.client() as client:
        return sum(each["name"] == "modcore-gateway" for each in client.client_list())


def test_every_scheme_is_found(server: RedisServer) -> None:
    for name in ("redis", "valkey"):
        for scheme in (name, f"{name}s", f"{name}+sentinel", f"{name}s+cluster"):
            gateway = connect(f"{scheme}://127.0.0.1:{server.port}")
            assert isinstance(gateway, RedisGateway)
            gateway.close()


def test_nothing_is_connected_before_it_is_needed(server: RedisServer) -> None:
    gateway = RedisGateway(server.url)
    assert our_clients(server) == 0
    gateway.close()


def test_connections_say_who_they_are_and_are_given_back(server: RedisServer) -> None:
    gateway = RedisGateway(server.url)
    gateway.resolve()
    gateway.watch(gateway.watch("", 1), 0.01)
    assert our_clients(server) == 2
    gateway.close()
    wait_until(lambda: our_clients(server) == 0, 5)


def test_many_threads_share_few_connections(server: RedisServer) -> None:
    gateway = RedisGateway(server.url)
    gateway.register(ONE, 60)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: list(gateway.resolve()), range(2000)))
    assert all(each == [ONE] for each in found)
    assert our_clients(server) <= 32
    gateway.close()


def test_a_forked_child_has_connections_of_its_own(server: RedisServer) -> None:
    gateway = RedisGateway(server.url)
    gateway.register(ONE, 60)
    done = threading.Event()

    def ask() -> int:
        count = 0
        while not done.is_set():
            assert list(gateway.resolve()) == [ONE]
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        child = os.fork()
        if child == 0:
            found = [list(gateway.resolve()) for _ in range(200)]
            os._exit(0 if found == [[ONE]] * 200 else 1)
        _, status = os.waitpid(child, 0)
        done.set()
    assert os.waitstatus_to_exitcode(status) == 0
    assert all(each.result() > 0 for each in asking)
    gateway.close()
