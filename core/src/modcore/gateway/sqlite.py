"""``sqlite:///path``: a gateway for the processes of one machine, in a file.

Times are by the machine's monotonic clock, which no setting of the date moves: an entry is alive when it
was renewed in this boot, at most its time to live ago. A file that is deleted while it is in use is made
anew, empty, and those who are registered come back with their next heartbeat.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from modcore.gateway.addresses import sqlite_path
from modcore.gateway.base import Entry, GatewayUnavailable
from modcore.gateway.forks import renew_after_fork
from modcore.gateway.machine import boot_id
from modcore.gateway.sqlite_errors import explained
from modcore.gateway.sqlite_file import PATIENCE, SqliteFile

POLL = 0.05  # seconds between two looks at the revision

_REGISTER = """
    INSERT OR REPLACE INTO instances (id, service, epoch, document, boot, renewed, ttl)
    VALUES (:id, :service, :epoch, :document, :boot, :now, :ttl)
"""
# Alive: of this boot, not older than its ttl. A reader's :now may be earlier than a writer's just after it.
_FORGET_DEAD = """
    DELETE FROM instances
    WHERE NOT (boot = :boot AND :now < renewed + ttl AND renewed < :now + 60)
"""
_RENEW = """
    UPDATE instances SET renewed = :now, ttl = :ttl WHERE id = :id AND epoch = :epoch
    AND boot = :boot AND :now < renewed + ttl AND renewed < :now + 60
"""
_LIVING = """
    SELECT CAST(service AS TEXT), CAST(id AS TEXT), CAST(epoch AS TEXT), CAST(document AS TEXT)
    FROM instances WHERE boot = :boot AND :now < renewed + ttl AND renewed < :now + 60
    AND (:service IS NULL OR service = :service) ORDER BY service, id
"""
_FORGET = "DELETE FROM instances WHERE id = :id AND epoch = :epoch"
_ADVANCE = "UPDATE state SET revision = revision + 1"
_REVISION = "SELECT era || ':' || revision FROM state"


class SqliteGateway:
    """See `Gateway`; `clock` and `boot` are this machine's unless they are given."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        boot: str | None = None,
    ) -> None:
        self._file = SqliteFile(sqlite_path(url))
        self._clock, self._boot = clock, boot_id() if boot is None else boot
        self._lock = threading.Lock()
        renew_after_fork(self)

    def register(self, entry: Entry, ttl: float) -> None:
        """See `Gateway.register`."""
        with self._writing() as database:
            now = self._now()
            database.execute(_FORGET_DEAD, now)
            database.execute(_REGISTER, {**now, **_values(entry), "ttl": ttl})
            database.execute(_ADVANCE)

    def heartbeat(self, entry: Entry, ttl: float) -> bool:
        """See `Gateway.heartbeat`."""
        with self._writing() as database:
            values = {**self._now(), "id": entry.id, "epoch": entry.epoch, "ttl": ttl}
            return database.execute(_RENEW, values).rowcount > 0

    def resolve(self, service: str | None = None) -> Sequence[Entry]:
        """See `Gateway.resolve`."""
        with self._using() as database:
            rows = database.execute(_LIVING, {**self._now(), "service": service}).fetchall()
        return [Entry(service=row[0], id=row[1], epoch=row[2], document=row[3]) for row in rows]

    def watch(self, revision: str, timeout: float) -> str:
        """See `Gateway.watch`."""
        end = time.monotonic() + timeout
        while True:
            with self._using() as database:
                current = str(database.execute(_REVISION).fetchone()[0])
            left = end - time.monotonic()
            if current != revision or left <= 0:
                return current
            time.sleep(min(POLL, left))

    def deregister(self, entry: Entry) -> None:
        """See `Gateway.deregister`."""
        with self._writing() as database:
            if database.execute(_FORGET, {"id": entry.id, "epoch": entry.epoch}).rowcount:
                database.execute(_ADVANCE)

    def close(self) -> None:
        """See `Gateway.close`; the next use opens the file again."""
        with self._lock:
            self._file.close()

    def after_fork(self) -> None:
        """A connection belongs to the process that opened it."""
        self._lock = threading.Lock()
        self._file.after_fork()

    def _now(self) -> dict[str, float | str]:
        return {"now": self._clock(), "boot": self._boot}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside."""
        with self._using() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        lock = self._lock
        if not lock.acquire(timeout=PATIENCE):
            raise GatewayUnavailable(f"{self._file.path} is busy in this process; try again.")
        try:
            yield self._file.open()
        except sqlite3.Error as error:
            self._file.forget_after(error)
            raise explained(error, self._file.path) from error
        finally:
            lock.release()


def _values(entry: Entry) -> dict[str, str]:
    return {
        "id": entry.id,
        "service": entry.service,
        "epoch": entry.epoch,
        "document": entry.document,
    }
