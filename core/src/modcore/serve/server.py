"""The server process: where it listens, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from modcore.errors import InvalidRequest, ServiceError
from modcore.serve.bounded_http import BoundedHttp

GRACEFUL_SECONDS = 5  # that running answers get to finish once the server is told to end
LAST_SECONDS = 2  # that their callers get to take the error which ends them then
KEEP_ALIVE_SECONDS = 75  # longer than clients keep an idle connection, so none is cut under them


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may mean any address


def open_listener(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port` (0: any free one).

    Raises InvalidRequest for a host that is no address of this machine, ServiceError when the port
    is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise InvalidRequest(f"{host!r} is not an address; try 127.0.0.1.", param="host") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Inherited by every connection; without it small answers wait for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ServiceError(
            f"Cannot listen on {host} port {port}: {error.strerror}; choose another --port or --host."
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL under which `listener` is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    app: ASGIApp,
    listener: socket.socket,
    on_ready: Callable[[], None],
    on_overdue: Callable[[], None],
    on_drain: Callable[[], None] = lambda: None,
) -> None:
    """Serve `app` on `listener` until SIGTERM or SIGINT.

    `on_ready` is called once it answers; `on_drain` when the signal has come; `on_overdue` when answers
    still run some seconds later, and has to end them. None of them may block.
    """
    Server(configured(app), on_ready, on_overdue, on_drain).run(sockets=[listener])


def configured(app: ASGIApp) -> uvicorn.Config:
    """How every server of ours runs: bounded requests, no websockets, no words about callers' mistakes."""
    return uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody is asked who somebody else says he is
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS + 2 * LAST_SECONDS,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which ends with exit code 0 when it is told to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None],
        on_overdue: Callable[[], None],
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._on_drain = on_drain
        self._on_ready = on_ready
        self._on_overdue = on_overdue

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that it answers, once it does."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server, and nothing else does."""
        # uvicorn's own raises the signal again in the end, so the process would die of it.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        super().handle_exit(sig, frame)
        self._on_drain()
        loop = asyncio.get_running_loop()
        loop.call_later(GRACEFUL_SECONDS, self._on_overdue)
        loop.call_later(GRACEFUL_SECONDS + LAST_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        """Cut off callers who do not read what they are sent."""
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
