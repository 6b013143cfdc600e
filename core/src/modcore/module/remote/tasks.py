"""The same calls for asyncio: nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any

from modcore.module.remote.address import Address
from modcore.module.remote.connection import CONNECT_SECONDS, IDLE_SECONDS, MAX_IDLE, has_something
from modcore.module.remote.exchange import Exchange
from modcore.module.remote.reading import NoHttp, Reading

_PART = 256 * 1024


class _Link:
    """A connection of one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.idle_since = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether the other side has closed it, or it has been idle for long."""
        is_old = time.monotonic() - self.idle_since > IDLE_SECONDS
        if is_old or self._reader.at_eof() or self._writer.is_closing():
            return True
        return has_something(
            self._writer.get_extra_info("socket")
        )  # the loop may not have looked yet

    async def send(self, request: bytes) -> None:
        """Send `request`. Raises OSError."""
        self._writer.write(request)
        await self._writer.drain()

    async def receive_into(self, reading: Reading) -> None:
        """Wait for bytes, and feed them to `reading`. Raises OSError, NoHttp."""
        data = await self._reader.read(_PART)
        if data:
            reading.feed(data)
        else:
            reading.end()

    def close(self) -> None:
        """Close it at once."""
        with contextlib.suppress(RuntimeError):  # its loop has ended before
            self._writer.transport.abort()


class _Idle:
    """Connections of one event loop that nobody uses now; they end with it."""

    def __init__(self) -> None:
        self.links: list[_Link] = []
        self._watch = self._until_the_loop_ends()

    async def watch(self) -> None:
        """Notice when the running loop ends: asyncio.run closes every generator then."""
        await anext(self._watch)

    def close(self) -> None:
        """Close all."""
        while self.links:
            self.links.pop().close()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.close()


class AsyncClient:
    """Calls to one address from any number of event loops, each with connections of its own."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Idle] = (
            weakref.WeakKeyDictionary()
        )

    async def call(self, exchange: Exchange) -> Any:
        """The result of one call; a cancelled one ends it over there."""
        link, reading = await self._ask(exchange, "/call")
        try:
            await self._finish(exchange, link, reading)
        except BaseException:
            link.close()
            raise
        self._keep(link, reading)
        return exchange.result(reading)

    async def stream(self, exchange: Exchange) -> AsyncGenerator[Any, None]:
        """The pieces of one call; leaving it early ends the call."""
        link, reading = await self._ask(exchange, "/stream")
        try:
            if not reading.is_stream:
                await self._finish(exchange, link, reading)
                raise exchange.refusal(reading)
            lines = b""
            while True:
                lines += reading.take()
                whole, _, lines = lines.rpartition(b"\n")
                for piece in exchange.pieces(whole):
                    yield piece
                if exchange.is_done:
                    return
                if reading.is_complete:
                    raise exchange.died(NoHttp("no last event"), reading)
                await self._receive(exchange, link, reading)
        finally:
            link.close()

    async def _ask(self, exchange: Exchange, path: str) -> tuple[_Link, Reading]:
        """Send the call, and read until the head of its answer is there."""
        link, reading = await self._connected(exchange), Reading()
        request = exchange.request(path)
        try:
            with _told(exchange, reading):
                await _within(exchange, link.send(request))
            while not reading.status:
                await self._receive(exchange, link, reading)
        except BaseException:
            link.close()
            raise
        return link, reading

    async def _finish(self, exchange: Exchange, link: _Link, reading: Reading) -> None:
        while not reading.is_complete:
            await self._receive(exchange, link, reading)

    async def _receive(self, exchange: Exchange, link: _Link, reading: Reading) -> None:
        with _told(exchange, reading):
            await _within(exchange, link.receive_into(reading))

    async def _connected(self, exchange: Exchange) -> _Link:
        idle = (await self._of_this_loop()).links
        while idle:
            if not (link := idle.pop()).is_stale:
                return link
            link.close()
        left = exchange.left
        try:
            async with asyncio.timeout(min(CONNECT_SECONDS, left or CONNECT_SECONDS)):
                return await _connect(self._address)
        except OSError as error:  # a TimeoutError is one
            raise exchange.refused(error) from error

    async def _of_this_loop(self) -> _Idle:
        loop = asyncio.get_running_loop()
        idle = self._idle.get(loop)
        if idle is None:
            self._forget_ended_loops()
            idle = self._idle[loop] = _Idle()
            await idle.watch()
        return idle

    def _forget_ended_loops(self) -> None:
        """Those that were closed in another way than by asyncio.run; connections hold on to their loop."""
        for reference in self._idle.keyrefs():
            loop = reference()
            if loop is not None and loop.is_closed() and (idle := self._idle.pop(loop, None)):
                idle.close()

    def _keep(self, link: _Link, reading: Reading) -> None:
        idle = self._idle[asyncio.get_running_loop()].links
        if not reading.keeps_alive or len(idle) >= MAX_IDLE:
            link.close()
            return
        link.idle_since = time.monotonic()
        idle.append(link)


async def _connect(address: Address) -> _Link:
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=address.tls)
    return _Link(reader, writer)  # asyncio sets TCP_NODELAY itself


async def _within(exchange: Exchange, wait: Coroutine[Any, Any, None]) -> None:
    if exchange.give_up_at is None:
        await wait
        return
    async with asyncio.timeout(exchange.give_up_at - time.monotonic()):
        await wait


@contextlib.contextmanager
def _told(exchange: Exchange, reading: Reading) -> Iterator[None]:
    """What goes wrong with a connection, as what it means for the call."""
    try:
        yield
    except TimeoutError:
        raise exchange.too_late() from None
    except (OSError, NoHttp) as error:
        raise exchange.died(error, reading) from error
