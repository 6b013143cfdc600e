"""The server that holds the keys dies and another takes its place: the gateway finds it."""

from __future__ import annotations

import contextlib

import pytest
import redis

from heartbeats import HEARTBEAT, TTL, Services, timed
from modcore.gateway.base import Gateway
from modcore_redis_gateway.gateway import RedisGateway
from redis_cluster import redis_cluster, sentinel_and
from redis_server import RedisServer, redis_server
from waiting import wait_until

pytestmark = pytest.mark.fault

PATIENCE = 20  # seconds: for servers to agree on who takes over, not for us


def verify_found_again(services: Services, gateway: Gateway, successor: RedisServer) -> None:
    """All are registered at `successor`, once it has taken over, and no call takes long until then."""

    def has_taken_over() -> bool:
        took, _ = timed(gateway.resolve)
        assert took < 1
        # A Sentinel ends the connections of a server whose role it changes.
        with contextlib.suppress(redis.ConnectionError), successor.client() as client:
            return client.info("replication")["role"] == "master"
        return False

    wait_until(has_taken_over, PATIENCE)
    wait_until(services.are_all_there, HEARTBEAT + 0.5 + TTL)
    with successor.client() as client:
        assert client.zcard("mc:{modcore}:live") == len(services.entries)


def test_a_sentinel_promotes_a_replica() -> None:
    with (
        redis_server() as master,
        redis_server() as replica,
        sentinel_and(master, replica) as sentinel,
    ):
        gateway = RedisGateway(f"redis+sentinel://127.0.0.1:{sentinel.port}/main")
        services = Services(gateway, 3)
        try:
            master.kill()
            verify_found_again(services, gateway, replica)
        finally:
            services.stop()
            gateway.close()


def test_a_cluster_promotes_a_replica() -> None:
    with redis_cluster(3, replica=True) as cluster:
        gateway = RedisGateway(cluster.url(*cluster.nodes))
        services = Services(gateway, 3)
        try:
            cluster.owner().kill()
            verify_found_again(services, gateway, cluster.nodes[-1])
        finally:
            services.stop()
            gateway.close()
