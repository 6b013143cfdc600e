"""The calling side: who can be called, read from memory, whatever becomes of the store."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from modcore.errors import ServiceError
from modcore.gateway.addresses import absolute
from modcore.gateway.base import Entry, Gateway
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.connect import connect
from modcore.gateway.forks import renew_after_fork
from modcore.gateway.instance import Instance
from modcore.gateway.preservation import Doubts
from modcore.gateway.reading import EntryReader, Known
from modcore.gateway.secret import cluster_key
from modcore.gateway.snapshot import EMPTY, Snapshot, snapshot_of
from modcore.gateway.snapshot_file import SnapshotFile

_log = logging.getLogger(__name__)

RESOLVE_EVERY = 2.0  # seconds; a watch that notices something is quicker
_SLICE = 0.5  # seconds that a watch waits, and so a closing directory
_FIRST_LOOK = 1.0
_BREATH = 0.02  # what changes in quick succession is looked at once
_PAUSES = (0.2, 0.4, 0.8, 1.0)


class Directory:
    """The instances that `gateway` knows, signed with `key`: a snapshot that a thread keeps up to date.

    The thread starts with the first use, which waits a second at most for a first answer; nothing else
    here waits for the store. While it does not answer the last snapshot stays (`age` tells), and a new
    process begins with the one in `file`. Instances that vanish suddenly are kept as long as they answer.
    """

    def __init__(self, gateway: Gateway, key: ClusterKey, file: SnapshotFile | None = None) -> None:
        self._gateway, self._file = gateway, file
        self._reader = EntryReader(key)
        self._known: dict[str, Known] = {}
        self._doubts = Doubts()
        self._snapshot = EMPTY
        self._good_at = -math.inf
        self._error: Exception | None = None
        self._listeners: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._closed, self._looked = threading.Event(), threading.Event()
        self._changed, self._starting = threading.Condition(), threading.Lock()
        self._is_started = False  # only after a first look: who comes second waits for it, too
        renew_after_fork(self)

    def instances(self, service: str) -> tuple[Instance, ...]:
        """The instances of `service`, draining ones too; the same tuple as long as nothing changes."""
        if not self._is_started:
            self.start()
        return self._snapshot.get(service, ())

    def services(self) -> Snapshot:
        """The instances of every service, by its name."""
        if not self._is_started:
            self.start()
        return self._snapshot

    @property
    def age(self) -> float:
        """Seconds since the store was last heard of; infinite when it never was."""
        return max(0.0, time.monotonic() - self._good_at)

    @property
    def is_closed(self) -> bool:
        """Whether it has stopped to follow the store for good."""
        return self._closed.is_set()

    @property
    def error(self) -> Exception | None:
        """Why the store cannot be read now, or None."""
        return self._error

    @property
    def refused(self) -> int:
        """How many documents were forged, malformed, or outside the allowed networks."""
        return sum(self._reader.refusals.values())

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many documents were refused, by reason."""
        return self._reader.refusals

    def wait_for(self, service: str, timeout: float) -> tuple[Instance, ...]:
        """The instances of `service` that take calls, as soon as there is one.

        Raises ServiceError after `timeout` seconds.
        """
        self.services()
        with self._changed:
            if self._changed.wait_for(lambda: self._ready(service), timeout):
                return self._ready(service)
        raise ServiceError(self._absent(service, timeout))

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change, in the directory's thread; returns how to end that."""
        self._listeners.append(listener)

        def forget() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return forget

    def start(self) -> None:
        """Begin to follow the store; waits for its first answer, a second at most."""
        with self._starting:
            if self._thread is None and not self._closed.is_set():
                thread = threading.Thread(target=self._follow, name="directory", daemon=True)
                thread.start()
                self._thread = thread
        self._looked.wait(_FIRST_LOOK)
        self._is_started = True

    def close(self) -> None:
        """End the thread; the snapshot stays. The gateway is its owner's to close."""
        self._closed.set()
        self._looked.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_SLICE + 0.5)

    def after_fork(self) -> None:
        """The child keeps the snapshot and starts a thread of its own when it needs one."""
        self._thread, self._is_started = None, False
        self._changed, self._starting = threading.Condition(), threading.Lock()
        was_closed, self._closed = self._closed.is_set(), threading.Event()
        self._looked = threading.Event()
        if was_closed:
            self._closed.set()
        if was_closed or self._known:
            self._looked.set()

    # What follows runs in the thread.

    def _follow(self) -> None:
        revision, failures = "", 0
        while not self._closed.is_set():
            try:
                revision = self._news(revision)
                self._accept(self._gateway.resolve())
                failures = 0
                self._closed.wait(_BREATH)
            except (
                Exception
            ) as error:  # a gateway may be somebody else's, and this thread has to live
                self._lose(error)
                revision = ""
                self._closed.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1

    def _news(self, revision: str) -> str:
        """Wait for a change, or until it is time to look anyway."""
        end = time.monotonic() + RESOLVE_EVERY
        while True:
            left = end - time.monotonic()
            current = self._gateway.watch(revision, max(0.0, min(_SLICE, left)))
            if current != revision or left <= _SLICE or self._closed.is_set():
                return current

    def _accept(self, entries: Iterable[Entry]) -> None:
        """What the store says now."""
        if self._error is not None:
            _log.warning("the gateway's store answers again")
        self._error, self._good_at = None, time.monotonic()
        fresh = self._reader.read(entries)
        kept = self._doubts.raised(self._known, fresh)
        self._publish({**fresh, **kept})
        self._looked.set()
        if kept:
            self._publish({**fresh, **self._doubts.settled(kept)})

    def _lose(self, error: Exception) -> None:
        """The store does not answer: what is known stays, and who knows nothing yet reads the file."""
        if self._error is None:
            _log.warning("the gateway's store does not answer, its last state is used: %s", error)
        self._error = error
        if self._file is not None and not self._known and self._good_at == -math.inf:
            entries, age = self._file.load()
            if entries:
                self._good_at = time.monotonic() - age
                self._publish(self._reader.read(entries), save=False)
        self._looked.set()

    def _publish(self, known: dict[str, Known], save: bool = True) -> None:
        changed = known != self._known
        if changed:
            self._known = known
            self._snapshot = snapshot_of(known.values(), self._snapshot)
        if save and self._file is not None:
            self._file.keep((each.entry for each in known.values()), changed)
        if changed:
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for listener in list(self._listeners):
            try:
                listener()
            except Exception:
                _log.exception("a listener of the directory failed")

    def _ready(self, service: str) -> tuple[Instance, ...]:
        return tuple(each for each in self._snapshot.get(service, ()) if not each.draining)

    def _absent(self, service: str, timeout: float) -> str:
        names = ", ".join(sorted(self._snapshot)[:10]) or "none"
        state = f"; its store does not answer ({self._error})" if self._error else ""
        return (
            f"No instance of {service!r} was registered within {timeout:g} s; the gateway knows: "
            f"{names}{state}."
        )


class _Shared:
    """The directories of this process, by URL and key."""

    def __init__(self) -> None:
        self._directories: dict[tuple[str, str], Directory] = {}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def get(self, url: str) -> Directory:
        key = cluster_key(url)
        place = absolute(url), key.secret
        with self._lock:
            directory = self._directories.get(place)
            if directory is None or directory.is_closed:
                file = None if url.startswith("memory:") else SnapshotFile.of(place[0])
                self._directories[place] = Directory(connect(place[0]), key, file)
            return self._directories[place]

    def after_fork(self) -> None:
        self._lock = threading.Lock()


_shared = _Shared()


def shared_directory(url: str) -> Directory:
    """The directory of the gateway at `url`, one for the whole process; it follows the store when used.

    Raises GatewayError for a gateway or a key that cannot be used.
    """
    return _shared.get(url)
