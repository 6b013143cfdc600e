"""The end of a service: it takes no more calls, lets those that run finish, and only then stops listening."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType

from modcore.serve.module_app import ModuleApp
from modcore.serve.server import GRACEFUL_SECONDS, LAST_SECONDS, Server, configured


def nothing() -> None:
    """What happens when nobody asked to be told."""


def run_service(
    app: ModuleApp,
    listener: socket.socket,
    on_ready: Callable[[], None],
    on_drain: Callable[[], None] = nothing,
    grace: float = GRACEFUL_SECONDS,
) -> None:
    """Serve `app` on `listener` until SIGTERM, SIGINT or ``POST /_modcore/stop``.

    `on_ready` is called once it answers, `on_drain` when it takes no more calls; neither may block for long.
    Calls that run then get `grace` seconds; after them streams end with an error event, calls with 503.
    """
    _DrainingServer(app, on_ready, on_drain, grace).run(sockets=[listener])


class _DrainingServer(Server):
    """A server that ends in the order drain, finish, stop listening."""

    def __init__(
        self,
        app: ModuleApp,
        on_ready: Callable[[], None],
        on_drain: Callable[[], None],
        grace: float,
    ) -> None:
        super().__init__(configured(app), on_ready, nothing)
        self._app, self._tell_drain, self._grace = app, on_drain, grace
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
        asyncio.get_running_loop().call_soon(self._tell_drain)
        if not await self._app.state.idle(self._grace):
            self._app.end_calls()
            await self._app.state.idle(LAST_SECONDS)
        super().handle_exit(signal.SIGTERM, None)
