"""A real Redis Cluster, and real Sentinels: several servers of `redis_server` that know each other."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from redis.crc import key_slot

from redis_server import RedisServer, redis_server
from waiting import wait_until

SLOTS = 16384


def slot_of(namespace: str = "modcore") -> int:
    """The slot of a namespace's keys."""
    return key_slot(f"mc:{{{namespace}}}:".encode())


class Cluster:
    """`primaries` nodes with equal shares of the slots, and a replica of the one that has our slot."""

    def __init__(
        self, directory: Path, stack: contextlib.ExitStack, primaries: int, replica: bool
    ) -> None:
        self.nodes: list[RedisServer] = []
        self._directory = directory
        self._stack = stack
        for _ in range(primaries):
            self._add_node()
        for number, node in enumerate(self.nodes):
            share = range(number * SLOTS // primaries, (number + 1) * SLOTS // primaries)
            self.ask(node, "ADDSLOTS", *share)
        if replica:
            self._add_node()
        for node in self.nodes[1:]:
            self.ask(node, "MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(self._complete, 30, "the nodes know each other")
        if replica:
            self.ask(self.nodes[-1], "REPLICATE", self.id(self.owner()))
            wait_until(lambda: linked(self.nodes[-1]), 30, "the replica has a primary")

    def ask(self, node: RedisServer, *words: object) -> object:
        with node.client() as client:
            return client.execute_command("CLUSTER", *words)

    def id(self, node: RedisServer) -> str:
        with node.client() as client:
            return str(client.cluster("MYID"), "ascii")

    def owner(self) -> RedisServer:
        """The node that has our slot."""
        with self.nodes[0].client() as client:
            for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot_of() <= last:
                    return next(node for node in self.nodes if node.port == primary[1])
        raise AssertionError("nobody has the slot")

    def url(self, *nodes: RedisServer) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)

    def _add_node(self) -> None:
        lines = (
            "cluster-enabled yes",
            "cluster-node-timeout 1000",
            "cluster-allow-reads-when-down no",
        )
        node = RedisServer(self._directory, *lines)
        self._stack.callback(node.kill)
        self.nodes.append(node)

    def _complete(self) -> bool:
        return all(self._knows_all(node) for node in self.nodes)

    def _knows_all(self, node: RedisServer) -> bool:
        with node.client() as client:
            facts = client.cluster("INFO")
        return facts["cluster_state"] == "ok" and int(facts["cluster_known_nodes"]) == len(
            self.nodes
        )


@contextlib.contextmanager
def redis_cluster(primaries: int, replica: bool = False) -> Iterator[Cluster]:
    """A `Cluster` in a directory of its own, ended and removed afterwards."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        yield Cluster(Path(directory), stack, primaries, replica)


@contextlib.contextmanager
def sentinel_and(*servers: RedisServer, lines: tuple[str, ...] = ()) -> Iterator[RedisServer]:
    """A Sentinel that watches the first of `servers` as ``main``; the others are its replicas."""
    master, *replicas = servers
    for each in replicas:
        with each.client() as client:
            client.replicaof("127.0.0.1", master.port)
        wait_until(lambda each=each: linked(each), 30, "the replica has its master")
    watching = (
        f"sentinel monitor main 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds main 500",
        "sentinel failover-timeout main 3000",
        *lines,
    )
    with redis_server(*watching, sentinel=True) as sentinel:
        wait_until(lambda: knows(sentinel, len(replicas)), 30, "the Sentinel knows the replicas")
        yield sentinel


def knows(sentinel: RedisServer, replicas: int) -> bool:
    """Whether `sentinel` has found out about that many replicas."""
    with sentinel.client() as client:
        return len(client.sentinel_slaves("main")) >= replicas


def linked(replica: RedisServer) -> bool:
    """Whether `replica` follows its primary."""
    with replica.client() as client:
        return client.info("replication").get("master_link_status") == "up"
