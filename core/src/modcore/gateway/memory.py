"""``memory://``: a gateway inside one process, for tests and for programs that are alone.

``memory://name`` is another store than ``memory://``; the same name is the same store.
"""

from __future__ import annotations

import functools
import secrets
import threading
import time
from collections.abc import Callable, Sequence

from modcore.gateway.base import Entry
from modcore.gateway.forks import renew_after_fork


class MemoryStore:
    """Entries by their id, and when each expires by `clock` (seconds)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.kept: dict[str, tuple[Entry, float]] = {}
        self.changed = threading.Condition()
        self._era, self._count = secrets.token_hex(4), 0
        renew_after_fork(self)

    @property
    def revision(self) -> str:
        """Another text after each change of who is registered."""
        return f"{self._era}:{self._count}"

    def living(self, id: str) -> Entry | None:
        """The entry of `id`, unless it is unknown or has expired."""
        entry, expires_at = self.kept.get(id, (None, 0.0))
        return entry if self.clock() < expires_at else None

    def has_changed(self) -> None:
        """Forget what has expired, and wake those who watch."""
        self.kept = {key: kept for key, kept in self.kept.items() if self.living(key)}
        self._count += 1
        self.changed.notify_all()

    def after_fork(self) -> None:
        """The child has a store of its own from here on."""
        self.changed = threading.Condition()


@functools.cache
def _store(_name: str) -> MemoryStore:
    return MemoryStore()


class MemoryGateway:
    """See `Gateway`; `store` is the one of the URL's name unless it is given."""

    def __init__(self, url: str = "memory://", store: MemoryStore | None = None) -> None:
        self._store = store or _store(url.partition("://")[2])

    def register(self, entry: Entry, ttl: float) -> None:
        """See `Gateway.register`."""
        store = self._store
        with store.changed:
            store.kept[entry.id] = entry, store.clock() + ttl
            store.has_changed()

    def heartbeat(self, entry: Entry, ttl: float) -> bool:
        """See `Gateway.heartbeat`."""
        store = self._store
        with store.changed:
            kept = store.living(entry.id)
            if kept is None or kept.epoch != entry.epoch:
                return False
            store.kept[entry.id] = kept, store.clock() + ttl
            return True

    def resolve(self, service: str | None = None) -> Sequence[Entry]:
        """See `Gateway.resolve`."""
        store = self._store
        with store.changed:
            living = [entry for key in store.kept if (entry := store.living(key))]
        return [entry for entry in living if service in (None, entry.service)]

    def watch(self, revision: str, timeout: float) -> str:
        """See `Gateway.watch`."""
        store = self._store
        with store.changed:
            store.changed.wait_for(lambda: store.revision != revision, timeout)
            return store.revision

    def deregister(self, entry: Entry) -> None:
        """See `Gateway.deregister`."""
        store = self._store
        with store.changed:
            kept = store.kept.get(entry.id)
            if kept is not None and kept[0].epoch == entry.epoch:
                del store.kept[entry.id]
                store.has_changed()

    def close(self) -> None:
        """Nothing to give back."""
