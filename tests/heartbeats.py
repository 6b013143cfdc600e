"""Services that keep themselves registered, as small as can be, whatever happens to the store."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from modcore.gateway.base import Entry, Gateway, GatewayUnavailable
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.instance import Instance

TTL = 1.5  # seconds
HEARTBEAT = TTL / 3
KEY = ClusterKey("a key for the tests of faults")


class Services:
    """Heartbeats of several instances in one thread; who is unknown registers again."""

    def __init__(self, gateway: Gateway, count: int) -> None:
        self.gateway = gateway
        self.entries = [
            Instance(service="echo", url=f"http://127.0.0.1:{8000 + number}").entry(KEY)
            for number in range(count)
        ]
        self.errors: list[str] = []
        self._done = threading.Event()
        for entry in self.entries:
            gateway.register(entry, TTL)
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()

    def are_all_there(self) -> bool:
        """Whether the registry holds just them."""
        with contextlib.suppress(GatewayUnavailable):
            return sorted(self.gateway.resolve(), key=_id) == sorted(self.entries, key=_id)
        return False

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT):
            for entry in self.entries:
                try:
                    if not self.gateway.heartbeat(entry, TTL):
                        self.gateway.register(entry, TTL)
                except GatewayUnavailable as error:
                    self.errors.append(str(error))
                    break


def _id(entry: Entry) -> str:
    return entry.id


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """How long `call` took in seconds, and what came of it: a value, or GatewayUnavailable."""
    started = time.monotonic()
    try:
        result = call()
    except GatewayUnavailable as error:
        result = error
    return time.monotonic() - started, result
