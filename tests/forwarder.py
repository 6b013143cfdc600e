"""A place in front of a real server: it ends TLS for one that has none, or changes a few bytes of what it says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def forwarding(
    port: int,
    tls: ssl.SSLContext | None = None,
    rewrite: Callable[[bytes], bytes] = lambda answer: answer,
) -> Iterator[int]:
    """A port of 127.0.0.1 whose connections go to `port`; what comes back passes through `rewrite`."""
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [listener]
    threads: list[threading.Thread] = []

    def run(function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                run(connect, listener.accept()[0])

    def connect(near: socket.socket) -> None:
        sockets.append(near)
        with contextlib.suppress(OSError):
            near = tls.wrap_socket(near, server_side=True) if tls else near
            far = socket.create_connection(("127.0.0.1", port))
            sockets.extend([near, far])
            run(pump, near, far, lambda asked: asked)
            pump(far, near, rewrite)

    def pump(
        source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(change(data))
        _end(source, target)

    run(accept)
    try:
        yield listener.getsockname()[1]
    finally:
        _end(*sockets)
        for thread in threads:
            thread.join(5)


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
