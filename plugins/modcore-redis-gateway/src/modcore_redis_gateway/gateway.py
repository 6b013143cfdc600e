"""The gateway: modcore's protocol in terms of a few keys and scripts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from modcore.gateway.base import Entry, GatewayError
from modcore.gateway.instance import MAX_DOCUMENT
from modcore_redis_gateway.connections import PATIENCE
from modcore_redis_gateway.safety import verify_guarded
from modcore_redis_gateway.scripts import DEREGISTER, HEARTBEAT, REGISTER, RESOLVE
from modcore_redis_gateway.store import Store
from modcore_redis_gateway.url import parse

MAX_INSTANCES = 10_000
_NEVER_CHANGED = "0-0"


class RedisGateway:
    """A store of service instances in Redis; `url` is one that `modcore_redis_gateway.url` describes.

    Making one connects to nothing. It may be used by any number of threads; each call ends within a
    second, with an answer or an error, and `watch` within its time and half a second. Raises GatewayError
    for a URL that cannot be understood, or for a Redis on another machine that anybody may write to.
    """

    def __init__(self, url: str) -> None:
        self._url = parse(url)
        verify_guarded(self._url, *self._url.nodes)
        head = f"mc:{{{self._url.namespace}}}:"  # the braces: one slot in a Cluster
        self._live, self._events, self._holders = f"{head}live", f"{head}ev", f"{head}i:"
        self._store = Store(self._url, self._live)

    def register(self, entry: Entry, ttl: float) -> None:
        """Keep `entry` for `ttl` seconds; one with the same id is replaced."""
        described = (entry.service, entry.epoch, entry.document)
        self._store.run(REGISTER, self._keys(entry.id), entry.id, _milliseconds(ttl), *described)

    def heartbeat(self, entry: Entry, ttl: float) -> bool:
        """Keep what is registered for another `ttl` seconds; false when it is unknown."""
        lives = (entry.id, _milliseconds(ttl), entry.epoch)
        return bool(self._store.run(HEARTBEAT, self._keys(entry.id), *lives))

    def resolve(self, service: str | None = None) -> Sequence[Entry]:
        """The living entries of `service`, or of all; what Redis holds of them is not to be trusted."""
        bounds = (self._holders, service or "", MAX_INSTANCES + 1, MAX_DOCUMENT)
        words = self._store.run(RESOLVE, (self._live, self._events), *bounds)
        texts = [word.decode("utf-8", "replace") for word in words]
        if len(texts) > 4 * MAX_INSTANCES:
            raise GatewayError(
                f"The gateway {self._url.name} holds more than {MAX_INSTANCES} instances; give each system "
                "a namespace of its own with ?namespace=NAME."
            )
        parts = (texts[start::4] for start in range(4))
        return [
            Entry(id=each, service=of, epoch=epoch, document=document)
            for each, of, epoch, document in zip(*parts, strict=True)
        ]

    def watch(self, revision: str, timeout: float) -> str:
        """Wait until the revision is another than `revision`, for `timeout` seconds; returns it."""
        deadline = time.monotonic() + timeout
        current = self._revision()
        left = deadline - time.monotonic()
        if current != revision or left < 0.001:
            return current
        read = (
            "XREAD",
            "COUNT",
            1,
            "BLOCK",
            _milliseconds(left),
            "STREAMS",
            self._events,
            revision,
        )
        came = self._store.execute_waiting(max(left + PATIENCE, 0.0), *read)
        return _last_id(came[0][1]) if came else current

    def deregister(self, entry: Entry) -> None:
        """Forget `entry`; nothing happens when it is unknown or of another epoch."""
        self._store.run(DEREGISTER, self._keys(entry.id), entry.id, entry.epoch)

    def close(self) -> None:
        """End the connections; a `watch` that waits ends with GatewayUnavailable."""
        self._store.close()

    def __repr__(self) -> str:
        return f"RedisGateway({self._url.name})"

    def _keys(self, id: str) -> tuple[str, str, str]:
        return self._live, self._events, f"{self._holders}{id}"

    def _revision(self) -> str:
        """The last id of the stream of events."""
        return _last_id(self._store.execute("XREVRANGE", self._events, "+", "-", "COUNT", 1))


def _last_id(events: Sequence[Sequence[bytes]]) -> str:
    return events[-1][0].decode() if events else _NEVER_CHANGED


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
