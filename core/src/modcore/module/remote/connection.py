"""Blocking connections to one address: kept while they live, for one request after the other."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import socket
import time
from typing import Protocol

from modcore.module.remote.address import Address
from modcore.module.remote.reading import Reading

CONNECT_SECONDS = 5.0
#: Shorter than services keep an idle connection (75 s), so that none is closed as it is used.
IDLE_SECONDS = 60.0
MAX_IDLE = 64
_PART = 256 * 1024


class HasFileno(Protocol):
    """A socket, or what stands for one."""

    def fileno(self) -> int:
        """Its number."""
        ...


def has_something(idle: HasFileno) -> bool:
    """Whether something has come on a socket where nothing is under way: its end, as a rule."""
    poll = select.poll()
    poll.register(idle, select.POLLIN)
    return bool(poll.poll(0))


class Connection:
    """A connection to `address`; `timeout` in seconds bounds how long connecting takes. Raises OSError."""

    def __init__(self, address: Address, timeout: float | None) -> None:
        limit = CONNECT_SECONDS if timeout is None else min(timeout, CONNECT_SECONDS)
        plain = socket.create_connection((address.host, address.port), timeout=max(limit, 0.001))
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = (
                address.tls.wrap_socket(plain, server_hostname=address.host)
                if address.tls
                else plain
            )
            self._socket.settimeout(None)
        except BaseException:
            plain.close()
            raise
        self._limit: float | None = None
        self.is_reused = False
        self.idle_since = 0.0

    def send(self, request: bytes, end: float | None) -> None:
        """Send `request` by the time `end` (of time.monotonic). Raises OSError."""
        self._set_limit(end)
        self._socket.sendall(request)

    def receive_into(self, reading: Reading, end: float | None) -> None:
        """Wait for bytes, and feed them to `reading`. Raises OSError, NoHttp."""
        self._set_limit(end)
        data = self._socket.recv(_PART)
        if data:
            reading.feed(data)
        else:
            reading.end()

    def is_stale(self) -> bool:
        """Whether the other side has closed it, or has said something that nobody asked for."""
        if time.monotonic() - self.idle_since > IDLE_SECONDS:
            return True
        return has_something(self._socket)

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()

    def _set_limit(self, end: float | None) -> None:
        limit = None if end is None else max(end - time.monotonic(), 0.001)
        if limit is not None or self._limit is not None:
            self._limit = limit
            self._socket.settimeout(limit)


class Connections:
    """Those to one address that nobody uses now; the last given back is the first to be used again."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: collections.deque[Connection] = collections.deque(maxlen=MAX_IDLE)
        self._process = os.getpid()

    def take(self, timeout: float | None) -> Connection:
        """One that lives, kept or new. Raises OSError."""
        if self._process != os.getpid():  # a fork's parent goes on using its own
            self.__init__(self._address)  # type: ignore[misc]
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if not connection.is_stale():
                    return connection
                connection.close()
        return Connection(self._address, timeout)

    def give_back(self, connection: Connection) -> None:
        """Keep `connection`, on which nothing is under way."""
        connection.is_reused = True
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def close(self) -> None:
        """Close those that are idle."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()
