"""Where the keys are: at the server itself, at Sentinel's master, or at one node of a Cluster.

All keys share a hash tag, so a Cluster is one server to a gateway: whichever has the slot. That is found
as Sentinel's master is: by asking one node after the other.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from redis import exceptions

from modcore.gateway.base import GatewayError
from modcore_redis_gateway.connections import connection_options, exchange
from modcore_redis_gateway.url import CLUSTER, SENTINEL, Address, RedisUrl

_PER_NODE = 0.2  # seconds
_IN_ALL = 0.4  # seconds


class Locator:
    """Asks the nodes of `url` where `key` is; who did not answer is asked last the next time."""

    def __init__(self, url: RedisUrl, key: str) -> None:
        self._url = url
        self._key = key
        self._nodes = deque(url.nodes)
        self._ask = {SENTINEL: self._ask_sentinel, CLUSTER: self._ask_cluster}.get(url.kind)

    def locate(self) -> Address:
        """The server to write to; raises redis-py's last error when no node knows it within 0.4 s."""
        if self._ask is None:
            return self._nodes[0]
        deadline = time.monotonic() + _IN_ALL
        last: exceptions.RedisError = exceptions.ConnectionError("no node could be asked in time")
        for _ in range(len(self._nodes)):
            if time.monotonic() > deadline:
                break
            try:
                return self._ask(self._nodes[0])
            except exceptions.RedisError as error:
                last = error
                self._nodes.rotate(-1)
        raise last

    def _ask_sentinel(self, node: Address) -> Address:
        options = self._url.options
        credentials = {
            "username": options.get("sentinel_username"),
            "password": options.get("sentinel_password"),
        }
        ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.master)
        try:
            answer = self._exchange(node, credentials, *ask)
        except exceptions.AuthenticationError as error:
            raise GatewayError(
                f"The Sentinel at {node} asks for a password, or refuses it; it belongs into "
                "?sentinel_password=, a user's name into sentinel_username."
            ) from error
        if answer is None:
            raise GatewayError(
                f"The Sentinel at {node} knows no master {self._url.master!r}; the URL names it: "
                "redis+sentinel://host/master."
            )
        host, port = answer
        return Address(host.decode(), int(port))

    def _ask_cluster(self, node: Address) -> Address:
        try:
            self._exchange(node, {}, "EXISTS", self._key)
        except exceptions.MovedError as moved:
            unknown = moved.host in ("", "?")  # then it is the host that was asked
            return Address(node.host if unknown else moved.host, moved.port)
        return node

    def _exchange(self, node: Address, credentials: dict[str, Any], *words: str) -> Any:
        options = {**connection_options(node, self._url, _PER_NODE), **credentials}
        connection = options.pop("connection_class")(**options)
        try:
            connection.connect()
            return exchange(connection, *words)
        finally:
            connection.disconnect()
