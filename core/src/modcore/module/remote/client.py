"""RemoteModule: one instance of a service, for any number of threads and event loops."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

from modcore.module.remote.address import Address
from modcore.module.remote.connection import Connection, Connections
from modcore.module.remote.exchange import Exchange
from modcore.module.remote.reading import NoHttp, Reading
from modcore.module.remote.tasks import AsyncClient


class RemoteModule:
    """The service at `url`; `timeout` in seconds is what a call gets when it names none itself.

    Connections are kept and shared by all threads; a copy in another process has its own. See the room's
    docstring for what its methods raise.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float | None = None) -> None:
        self._address = Address(url, token)
        self.url = self._address.url
        self._token, self._timeout = token, timeout
        self._connections = Connections(self._address)
        self._tasks = AsyncClient(self._address)

    def __reduce__(self) -> tuple[type[RemoteModule], tuple[str, str | None, float | None]]:
        return RemoteModule, (self.url, self._token, self._timeout)  # connections stay here

    def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, timeout: float | None = None
    ) -> Any:
        """The result of one call."""
        exchange = self._exchange(args, kwargs, timeout)
        connection, reading = self._ask(exchange, "/call")
        try:
            self._finish(exchange, connection, reading)
        except BaseException:
            connection.close()
            raise
        self._keep(connection, reading)
        return exchange.result(reading)

    def stream(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, timeout: float | None = None
    ) -> Generator[Any, None, None]:
        """The pieces of one call as they are made; closing the iterator ends the call."""
        exchange = self._exchange(args, kwargs, timeout)
        connection, reading = self._ask(exchange, "/stream")
        try:
            if not reading.is_stream:
                self._finish(exchange, connection, reading)
                raise exchange.refusal(reading)
            yield from self._pieces(exchange, connection, reading)
        finally:
            connection.close()

    async def acall(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, timeout: float | None = None
    ) -> Any:
        """As `call`, for asyncio; a cancelled one ends the call over there."""
        return await self._tasks.call(self._exchange(args, kwargs, timeout))

    def astream(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, timeout: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """As `stream`, for asyncio."""
        return self._tasks.stream(self._exchange(args, kwargs, timeout))

    def ready(self, timeout: float = 1.0) -> bool:
        """Whether the service takes calls, as it says within `timeout` seconds."""
        end = time.monotonic() + timeout
        reading = Reading()
        with contextlib.suppress(OSError, NoHttp):
            connection = Connection(self._address, timeout)
            with contextlib.closing(connection):
                connection.send(self._address.get("/readyz"), end)
                while not reading.is_complete and time.monotonic() < end:
                    connection.receive_into(reading, end)
        return reading.status == 200

    def close(self) -> None:
        """Close the connections that are idle; the next call opens one."""
        self._connections.close()

    def _exchange(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> Exchange:
        limit = self._timeout if timeout is None else timeout
        return Exchange(self._address, args, kwargs, limit)

    def _ask(self, exchange: Exchange, path: str) -> tuple[Connection, Reading]:
        """Send the call, and read until the head of its answer is there."""
        connection, reading = self._send(exchange, path), Reading()
        try:
            while not reading.status:
                self._receive(exchange, connection, reading)
        except BaseException:
            connection.close()
            raise
        return connection, reading

    def _connected(self, exchange: Exchange) -> Connection:
        left = exchange.left
        try:
            return self._connections.take(left)
        except OSError as error:
            raise exchange.refused(error) from error

    def _send(self, exchange: Exchange, path: str) -> Connection:
        """Send the call; on a kept connection that breaks meanwhile, again on a new one.

        What has not been taken whole has not begun over there.
        """
        request = exchange.request(path)
        connection = self._connected(exchange)
        while True:
            try:
                connection.send(request, exchange.give_up_at)
                return connection
            except BaseException as error:
                connection.close()
                if isinstance(error, TimeoutError):
                    raise exchange.too_late() from None
                if not isinstance(error, OSError):
                    raise
                if not connection.is_reused:
                    raise exchange.died(error, Reading()) from error
            self._connections.close()  # the other side has closed those beside it as well
            connection = self._connected(exchange)

    def _finish(self, exchange: Exchange, connection: Connection, reading: Reading) -> None:
        while not reading.is_complete:
            self._receive(exchange, connection, reading)

    def _receive(self, exchange: Exchange, connection: Connection, reading: Reading) -> None:
        try:
            connection.receive_into(reading, exchange.give_up_at)
        except TimeoutError:
            raise exchange.too_late() from None
        except (OSError, NoHttp) as error:
            raise exchange.died(error, reading) from error

    def _keep(self, connection: Connection, reading: Reading) -> None:
        if reading.keeps_alive:
            self._connections.give_back(connection)
        else:
            connection.close()

    def _pieces(
        self, exchange: Exchange, connection: Connection, reading: Reading
    ) -> Iterator[Any]:
        lines = b""
        while True:
            lines += reading.take()
            whole, _, lines = lines.rpartition(b"\n")
            yield from exchange.pieces(whole)
            if exchange.is_done:
                return
            if reading.is_complete:
                raise exchange.died(NoHttp("no last event"), reading)
            self._receive(exchange, connection, reading)
