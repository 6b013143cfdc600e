"""What callers see of a Redis that fails: nothing. Registrations and a directory as services use them."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from heartbeats import HEARTBEAT, KEY, TTL
from modcore.gateway.connect import connect
from modcore.gateway.directory import Directory
from modcore.gateway.instance import Instance
from modcore.gateway.registration import Registration
from redis_server import RedisServer
from waiting import wait_until

pytestmark = pytest.mark.fault

COUNT = 3


class Healthy(http.server.BaseHTTPRequestHandler):
    """Answers every GET with 200, as ``/health`` of a service does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def killed_for_longer_than_the_ttl(server: RedisServer) -> None:
    server.kill()
    time.sleep(TTL + 0.5)  # the fault itself: it lasts that long
    server.start()


def restarted_empty(server: RedisServer) -> None:
    server.kill()
    server.start()


def hung_for_four_seconds(server: RedisServer) -> None:
    server.suspend()
    time.sleep(4)  # the fault itself
    server.resume()


def emptied(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


def overwritten(server: RedisServer) -> None:
    with server.client() as client:
        for key in client.keys("mc:*"):
            client.delete(key)
            client.set(key, "nonsense")


@pytest.mark.parametrize(
    "fault",
    [
        killed_for_longer_than_the_ttl,
        restarted_empty,
        hung_for_four_seconds,
        emptied,
        overwritten,
    ],
)
def test_callers_have_somebody_to_call_and_the_registry_is_whole_again(
    server: RedisServer, service_url: str, fault: Callable[[RedisServer], None]
) -> None:
    gateway = connect(server.url)
    registrations = [
        Registration(gateway, Instance(service="echo", url=service_url), KEY, TTL)
        for _ in range(COUNT)
    ]
    for registration in registrations:
        registration.start()
    directory = Directory(gateway, KEY)
    fewest = Fewest(directory)
    fault(server)
    try:
        wait_until(lambda: registered(server) == COUNT, HEARTBEAT + 0.5)
        wait_until(lambda: directory.error is None, 3)
    finally:
        assert fewest.stop() > COUNT / 2  # a sudden loss of more is not believed
        for registration in registrations:
            registration.close()
        directory.close()
        gateway.close()
    assert registered(server) == 0


def registered(server: RedisServer) -> int:
    """How many instances Redis holds."""
    with server.client() as client:
        return len(client.keys("mc:{modcore}:i:*"))


class Fewest:
    """Asks `directory` all the time, and remembers the fewest that it knew."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._done = threading.Event()
        self._fewest = len(directory.instances("echo"))
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self._fewest

    def _ask(self) -> None:
        while not self._done.wait(0.002):
            self._fewest = min(self._fewest, len(self._directory.instances("echo")))
