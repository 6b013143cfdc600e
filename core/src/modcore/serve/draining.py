"""The end of a service: it takes no more calls, lets those that run finish, and only then stops listening."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType

from modcore.serve.module_app import ModuleApp
from modcore.serve.server import GRACEFUL_SECONDS, LAST_SECONDS, Server, configured

#: What those who find a service through a gateway need to learn that it ends.
LINGER_SECONDS = 0.3


def nothing() -> None:
    """What happens when nobody asked to be told."""


def run_service(
    app: ModuleApp,
    listener: socket.socket,
    on_ready: Callable[[], None],
    on_drain: Callable[[], None] = nothing,
    grace: float = GRACEFUL_SECONDS,
    linger: float = 0.0,
) -> None:
    """Serve `app` on `listener` until SIGTERM, SIGINT or ``POST /_modcore/stop``.

    `on_ready` is called once it answers, `on_drain` when it takes no more calls; neither may block for long.
    Calls that run then get `grace` seconds; after them streams end with an error event, calls with 503.
    For `linger` seconds at least it goes on to turn calls away: whoever finds it through a registry must
    not meet a connection that closes under a call, which nobody could tell from a call that was lost.
    """
    _DrainingServer(app, on_ready, on_drain, grace, linger).run(sockets=[listener])


class _DrainingServer(Server):
    """A server that ends in the order drain, finish, stop listening."""

    def __init__(
        self,
        app: ModuleApp,
        on_ready: Callable[[], None],
        on_drain: Callable[[], None],
        grace: float,
        linger: float,
    ) -> None:
        super().__init__(configured(app), on_ready, nothing)
        self._app, self._tell_drain = app, on_drain
        self._grace, self._linger = grace, linger
        self._drain: asyncio.Task[None] | None = None
        app.on_stop = lambda: self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal waits for nobody."""
        if self._drain is None:
            self._app.drain()
            self._drain = asyncio.get_running_loop().create_task(self._end())
        else:
            self._grace = 0
            self._app.end_calls()

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(self._tell_drain)
        until = loop.time() + self._linger
        if not await self._app.state.idle(self._grace):
            self._app.end_calls()
            await self._app.state.idle(LAST_SECONDS)
        await asyncio.sleep(until - loop.time())
        super().handle_exit(signal.SIGTERM, None)
