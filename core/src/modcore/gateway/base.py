"""The protocol of a gateway: a store of service instances that forgets those that stop saying they live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from modcore.errors import ModcoreError


class GatewayError(ModcoreError):
    """A gateway cannot be used as it is configured: its URL, its rights or its key."""


class GatewayUnavailable(GatewayError):
    """A gateway's store does not answer now; it may do so later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One instance as a store keeps it: only the document is for readers, and only once it is verified.

    `epoch` is random, new with each start of a process: a zombie that bears the `id` of its successor
    is told by it.
    """

    service: str
    id: str
    epoch: str
    document: str


class Gateway(Protocol):
    """What ``modcore.gateways`` names: a factory, called with the URL, returns one of these.

    Every method may be called from any thread, returns within a second, and raises GatewayUnavailable when
    the store does not answer. None retries: whoever calls has a loop of its own. Times are in seconds and
    measured by the store's clock.
    """

    def register(self, entry: Entry, ttl: float) -> None:
        """Keep `entry` for `ttl`; one with the same id is replaced, whatever its epoch."""
        ...

    def heartbeat(self, entry: Entry, ttl: float) -> bool:
        """Keep what is registered for another `ttl`; false when the id is unknown or of another epoch."""
        ...

    def resolve(self, service: str | None = None) -> Sequence[Entry]:
        """The living entries of `service`, or of all."""
        ...

    def watch(self, revision: str, timeout: float) -> str:
        """Wait until who is registered is no longer as at `revision` (``""``: never seen), or for `timeout`.

        Returns the revision now. A hint: entries that expire need not change it.
        """
        ...

    def deregister(self, entry: Entry) -> None:
        """Forget `entry`; nothing happens when it is unknown or of another epoch."""
        ...

    def close(self) -> None:
        """Give back connections; what is registered stays until it expires."""
        ...
