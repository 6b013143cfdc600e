"""The file of a sqlite:// gateway: made for this user alone, opened once, every failure a sentence."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
import time
from pathlib import Path

from modcore.gateway.base import GatewayError, GatewayUnavailable

PATIENCE = 0.25  # seconds that each of at most four locks is waited for

_APPLICATION = 0x6D6F6463  # "modc"
_VERSION = 1
_TABLES = (
    "CREATE TABLE instances (id TEXT PRIMARY KEY, service TEXT NOT NULL, epoch TEXT NOT NULL,"
    " document TEXT NOT NULL, boot TEXT NOT NULL, renewed REAL NOT NULL, ttl REAL NOT NULL)",
    "CREATE TABLE state (era TEXT NOT NULL, revision INTEGER NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)

#: Connections of a parent process: closing one in the child could harm the file, so none ever is.
_inherited: list[sqlite3.Connection] = []


class SqliteFile:
    """One connection to the database at `path`, as long as that is the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)

    def open(self) -> sqlite3.Connection:
        """The connection; raises GatewayError, or what sqlite3 raises."""
        if self._connection is not None and self._identity_now() == self._identity:
            return self._connection
        self.close()
        self._create()
        connection = sqlite3.connect(
            self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            _set_up(connection, self.path)
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, self._identity_now()
        return connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def forget_after(self, error: sqlite3.Error) -> None:
        """Open the file anew next time, unless `error` only says that somebody else writes."""
        if _code(error) not in _BUSY:
            self.close()

    def after_fork(self) -> None:
        """Leave the parent's connection alone."""
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None

    def _identity_now(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError:
            return 0, 0
        return status.st_dev, status.st_ino

    def _create(self) -> None:
        """An empty file for this user alone, unless there is one."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise GatewayError(
                    f"{self.path} is no file; name one in sqlite:///path, it is made when it is not there."
                ) from None
        except OSError as error:
            raise GatewayError(
                f"The gateway's file {self.path} cannot be made ({error.strerror}); its directory has to be "
                "there, and writable."
            ) from error


def explained(error: sqlite3.Error, path: Path) -> GatewayError:
    """What `error` of the database at `path` means for whoever has to act."""
    code = _code(error)
    if code in _BUSY:
        return GatewayUnavailable(f"{path} is being written by another process; try again.")
    if code in _PASSING:
        return GatewayUnavailable(f"{path} cannot be written or read now ({error}).")
    if code in _DAMAGED:
        return GatewayError(
            f"{path} is no database of a gateway, or is damaged ({error}); name another file, or delete it: "
            "services register again by themselves."
        )
    return GatewayError(f"{path} cannot be used ({error}); it has to be readable and writable.")


_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM})
_DAMAGED = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}
)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    _share(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    if _is_ours(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    if not _is_ours(connection, path):  # nobody else has made the tables meanwhile
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO state VALUES (?, 0)", (secrets.token_hex(8),))
    connection.execute("COMMIT")


def _share(connection: sqlite3.Connection) -> None:
    """Readers and a writer at once. Two processes that ask for it first are not made to wait by SQLite."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or time.monotonic() > end:
                raise
        time.sleep(0.005)


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; raises GatewayError for somebody else's database."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT count(*) FROM sqlite_master",
        )
    )
    if application == _APPLICATION and version == _VERSION:
        return True
    if tables or application:
        raise GatewayError(
            f"{path} is a database of something else, or of another version of modcore; name another file."
        )
    return False
