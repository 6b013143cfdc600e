"""Connections to one Redis: bounded in number and in time, with no hidden retries.

redis-py tries ten times for seconds when it is left alone. Here each command is sent once, and waits
`PATIENCE` at most: whoever calls a gateway has a loop of its own.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Any

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, Connection, SSLConnection
from redis.retry import Retry

from modcore_redis_gateway.url import Address, RedisUrl

PATIENCE = 0.5  # seconds: for a connection, and for each answer
_FOR_A_CONNECTION = 0.4  # seconds, when all are in use
_CONNECTIONS = 32
_WATCHES = 8
_UNUSED = 10  # seconds after which a connection is tried with a PING before it is used


class Connections:
    """Two pools to the server at `address`: one for commands, one for those that wait long."""

    def __init__(self, address: Address, url: RedisUrl) -> None:
        self.address = address
        self.verified = False
        options = {**connection_options(address, url), "db": url.database}
        self._commands = _pool(_CONNECTIONS, options)
        self._watches = _pool(_WATCHES, options)
        self._waiting: set[Connection] = set()

    def execute(self, *words: Any) -> Any:
        """The answer to a command, within a second."""
        connection = self._commands.get_connection()
        try:
            return exchange(connection, *words)
        finally:
            self._commands.release(connection)

    def execute_waiting(self, patience: float, *words: Any) -> Any:
        """The answer to a command that may wait, on a connection on which nothing else waits behind it."""
        connection = self._watches.get_connection()
        self._waiting.add(connection)
        try:
            return exchange(connection, *words, patience=patience)
        finally:
            self._waiting.discard(connection)
            self._watches.release(connection)

    def close(self) -> None:
        """End every connection; who waits for an event is told at once, commands end by themselves."""
        for connection in tuple(self._waiting):
            _interrupt(connection)
        self._commands.disconnect(inuse_connections=False)
        self._watches.disconnect(inuse_connections=False)


def _interrupt(connection: Connection) -> None:
    """Let its reader find the end of the stream; to close it here would pull it from under the reader."""
    waiting = connection._get_socket()
    if waiting is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(waiting, socket.SHUT_RDWR)


def connection_options(
    address: Address, url: RedisUrl, patience: float = PATIENCE
) -> dict[str, Any]:
    """What redis-py has to know for a connection to `address`."""
    options: dict[str, Any] = {
        "connection_class": SSLConnection if url.tls else Connection,
        "host": address.host,
        "port": address.port,
        "username": url.username,
        "password": url.password,
        "protocol": 2,
        "client_name": "modcore-gateway",
        "driver_info": None,  # two more round trips, in which nobody is interested
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "socket_keepalive": True,
        "health_check_interval": _UNUSED,
        "retry": Retry(NoBackoff(), 0),
    }
    if url.tls:
        options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **url.tls_files}
    return options


def exchange(connection: Connection, *words: Any, patience: float | None = None) -> Any:
    """Send a command and read its answer, for which to wait `patience` (else the socket's timeout).

    A connection on which anything but an answer came of it is ended: what comes late is nobody's answer.
    """
    try:
        connection.send_command(*words)
        if patience is not None and not connection.can_read(timeout=patience):
            raise exceptions.TimeoutError("no answer in time")
        return connection.read_response()
    except exceptions.ResponseError:
        raise
    except BaseException:
        connection.disconnect()
        raise


def _pool(most: int, options: Mapping[str, Any]) -> BlockingConnectionPool:
    return BlockingConnectionPool(max_connections=most, timeout=_FOR_A_CONNECTION, **options)
