"""Where the keys are when it is not one server: a Sentinel's master, the node of a Cluster with our slot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modcore.gateway.base import Entry, Gateway, GatewayError, GatewayUnavailable
from modcore_redis_gateway.gateway import RedisGateway
from redis_cluster import Cluster, redis_cluster, sentinel_and, slot_of
from redis_server import RedisServer, free_port, redis_server
from waiting import wait_until

ONE = Entry(service="echo", id="one", epoch="first", document="{}")


@pytest.fixture(scope="module")
def master() -> Iterator[RedisServer]:
    with redis_server(password="geheim") as server:
        yield server


@pytest.fixture(scope="module")
def sentinel(master: RedisServer) -> Iterator[RedisServer]:
    with sentinel_and(master, lines=("sentinel auth-pass main geheim",)) as sentinel:
        yield sentinel


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with redis_cluster(3) as cluster:
        yield cluster


def verify_works(gateway: Gateway) -> None:
    """Each method, once."""
    gateway.register(ONE, 5)
    assert gateway.heartbeat(ONE, 5)
    assert list(gateway.resolve("echo")) == [ONE]
    revision = gateway.watch("", 5)
    assert gateway.watch(revision, 0.02) == revision
    gateway.deregister(ONE)
    assert list(gateway.resolve()) == []
    gateway.close()


class TestSentinel:
    def test_its_master_is_found(self, sentinel: RedisServer) -> None:
        url = f"redis+sentinel://:geheim@127.0.0.1:{sentinel.port}/main/1"
        verify_works(RedisGateway(url))

    def test_a_sentinel_that_is_gone_is_passed_over(self, sentinel: RedisServer) -> None:
        nodes = f"127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
        verify_works(RedisGateway(f"redis+sentinel://:geheim@{nodes}/main"))

    def test_a_master_that_it_does_not_know_is_named(self, sentinel: RedisServer) -> None:
        gateway = RedisGateway(f"redis+sentinel://:geheim@127.0.0.1:{sentinel.port}/other")
        with pytest.raises(GatewayError, match="knows no master 'other'"):
            gateway.resolve()

    def test_a_wrong_password_of_the_master_is_told_as_such(self, sentinel: RedisServer) -> None:
        gateway = RedisGateway(f"redis+sentinel://:x@127.0.0.1:{sentinel.port}/main")
        with pytest.raises(GatewayError, match="refuses the password"):
            gateway.resolve()

    def test_a_sentinel_with_a_password_of_its_own(self, master: RedisServer) -> None:
        watching = (f"sentinel monitor main 127.0.0.1 {master.port} 1",)
        with redis_server(*watching, sentinel=True, password="other") as sentinel:
            url = f"redis+sentinel://:geheim@127.0.0.1:{sentinel.port}/main"
            with pytest.raises(GatewayError, match="sentinel_password"):
                RedisGateway(url).resolve()
            verify_works(RedisGateway(f"{url}?sentinel_password=other"))

    def test_no_sentinel_at_all_is_a_store_that_is_down(self) -> None:
        gateway = RedisGateway(f"redis+sentinel://127.0.0.1:{free_port()}/main")
        with pytest.raises(GatewayUnavailable):
            gateway.resolve()


class TestCluster:
    def test_a_cluster_of_one_node_is_a_cluster(self) -> None:
        with redis_cluster(1) as cluster:
            verify_works(RedisGateway(cluster.url(*cluster.nodes)))
            verify_works(RedisGateway(cluster.nodes[0].url))

    def test_any_node_tells_who_has_the_slot(self, cluster: Cluster) -> None:
        for node in cluster.nodes:
            verify_works(RedisGateway(cluster.url(node)))

    def test_a_node_without_the_slot_is_no_single_server(self, cluster: Cluster) -> None:
        other = next(node for node in cluster.nodes if node is not cluster.owner())
        with pytest.raises(GatewayError, match=r"use redis\+cluster://") as told:
            RedisGateway(other.url).resolve()
        assert not isinstance(told.value, GatewayUnavailable)

    def test_the_slot_moves_and_a_gateway_moves_with_it(self, cluster: Cluster) -> None:
        gateway = RedisGateway(cluster.url(*cluster.nodes))
        gateway.register(ONE, 60)
        source = cluster.owner()
        target = next(node for node in cluster.nodes if node is not source)
        move_slot(cluster, source, target)
        assert list(gateway.resolve()) == [ONE]
        assert gateway.heartbeat(ONE, 60)
        gateway.deregister(ONE)
        gateway.close()


def move_slot(cluster: Cluster, source: RedisServer, target: RedisServer) -> None:
    """What `redis-cli --cluster reshard` does."""
    slot = slot_of()
    cluster.ask(target, "SETSLOT", slot, "IMPORTING", cluster.id(source))
    cluster.ask(source, "SETSLOT", slot, "MIGRATING", cluster.id(target))
    with source.client() as client:
        keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        client.execute_command(
            "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *keys
        )
    for node in (target, source, *cluster.nodes):
        cluster.ask(node, "SETSLOT", slot, "NODE", cluster.id(target))
    wait_until(lambda: cluster.owner() is target, 10, "the slot has moved")
