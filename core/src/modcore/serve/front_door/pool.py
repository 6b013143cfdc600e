"""Open connections to instances, kept for the next call."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from modcore.serve.front_door.connection import Connection

CONNECT_SECONDS = 2.0
#: Less than a service keeps an idle connection, so that none is closed under a request.
IDLE_SECONDS = 45.0
MAX_IDLE = 128  # for each instance


class Refused(Exception):
    """An instance takes no connection: nothing of a call has begun there."""


class Address(NamedTuple):
    """Where an instance listens; `prefix` is what its URL has of a path."""

    host: str
    port: int
    is_secure: bool
    authority: bytes
    prefix: bytes


@functools.lru_cache(maxsize=4096)
def address_of(url: str) -> Address:
    """The address in an instance's (verified) URL."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Address(host, port, secure, authority.encode(), parts.path.rstrip("/").encode())


class Pool:
    """Connections by URL, the one that was used last first."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def take(self, url: str) -> Connection:
        """An open connection; raises Refused."""
        idle = self._idle.get(url)
        latest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.is_reusable and connection.idle_since > latest:
                return connection
            connection.abort()
        return await self._connect(address_of(url))

    def give_back(self, url: str, connection: Connection) -> None:
        """Keep `connection` if the next request may go this way, else close it."""
        idle = self._idle.setdefault(url, [])
        if connection.is_reusable and len(idle) < MAX_IDLE:
            connection.idle_since = asyncio.get_running_loop().time()
            idle.append(connection)
        else:
            connection.abort()

    def keep_only(self, urls: Iterable[str]) -> None:
        """Close what is open to other instances than those at `urls`, and what has been idle for long."""
        known = set(urls)
        latest = asyncio.get_running_loop().time() - IDLE_SECONDS
        for url, idle in list(self._idle.items()):
            kept = [each for each in idle if url in known and each.idle_since > latest]
            for connection in set(idle) - set(kept):
                connection.abort()
            self._idle[url] = kept
            if not kept:
                del self._idle[url]

    async def _connect(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    Connection, address.host, address.port, ssl=self._context(address)
                )
        except (OSError, TimeoutError) as error:
            raise Refused(str(error) or f"no connection within {CONNECT_SECONDS:g} s") from error
        return connection

    def _context(self, address: Address) -> ssl.SSLContext | None:
        if not address.is_secure:
            return None
        self._tls = self._tls or ssl.create_default_context()
        return self._tls
