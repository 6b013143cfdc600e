"""What tests of gateways share: instances, a store with troubles, waiting for what is about to be."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from modcore.gateway.base import Entry, Gateway, GatewayUnavailable
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.instance import Instance

KEY = ClusterKey("a secret of the tests")
OTHER_KEY = ClusterKey("a secret of somebody else")
CLOSED_PORT = 9  # nobody listens on discard


def instance(service: str = "echo", number: int = 1, **values: Any) -> Instance:
    given = {"id": f"i{number}", "url": f"http://127.0.0.1:{9000 + number}", **values}
    return Instance(service=service, **given)


class TroubledGateway:
    """`gateway`, whose store can be made to be down, or to hang, as any store may one day."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.is_down = False
        self.answers = threading.Event()
        self.answers.set()

    def _meet(self) -> Gateway:
        self.answers.wait()
        if self.is_down:
            raise GatewayUnavailable("the store is down")
        return self.gateway

    def register(self, entry: Entry, ttl: float) -> None:
        self._meet().register(entry, ttl)

    def heartbeat(self, entry: Entry, ttl: float) -> bool:
        return self._meet().heartbeat(entry, ttl)

    def resolve(self, service: str | None = None) -> Sequence[Entry]:
        return self._meet().resolve(service)

    def watch(self, revision: str, timeout: float) -> str:
        return self._meet().watch(revision, timeout)

    def deregister(self, entry: Entry) -> None:
        self._meet().deregister(entry)

    def close(self) -> None:
        self.gateway.close()


@contextlib.contextmanager
def healthy(headers: dict[str, str] | None = None, status: int = 200) -> Iterator[str]:
    """The URL of a service on loopback that answers every GET with `status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
