"""The file of a sqlite:// gateway: made for this user alone, opened once, looked after."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from modcore.gateway.base import GatewayError
from modcore.gateway.sqlite_errors import BUSY, code_of

PATIENCE = 0.25  # seconds that each of four locks is waited for at most

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
        if code_of(error) not in BUSY:
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
            if not self.path.exists():
                with _creating_in(self.path.parent):
                    _make(self.path)
            status = self.path.stat()
        except OSError as error:
            raise GatewayError(
                f"The gateway's file {self.path} cannot be made ({error.strerror}); its directory has to be "
                "there, and writable."
            ) from error
        _verify(self.path, status)


def _verify(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise GatewayError(
            f"{path} is no file; name one in sqlite:///path, it is made when it is not there."
        )
    if sys.platform != "win32" and (
        status.st_uid not in (0, os.getuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        # Whoever writes there could send calls, and their token, to an address that a service has left.
        raise GatewayError(
            f"The gateway's file {path} can be written by others; make it yours alone (chmod 600), or name "
            "another."
        )


def _make(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        if not path.exists():
            # What a deleted database has left must not be taken for the new one's.
            for suffix in ("-wal", "-shm", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


@contextlib.contextmanager
def _creating_in(directory: Path) -> Iterator[None]:
    """One process at a time, where the system can tell; waits for `PATIENCE` at most."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        end = time.monotonic() + PATIENCE
        while not _is_locked(descriptor) and time.monotonic() < end:
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    _share(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    # One row with broken text must not hide the others.
    connection.text_factory = lambda text: text.decode(errors="replace")
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
            if code_of(error) not in BUSY or time.monotonic() > end:
                raise
        time.sleep(0.005)


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; raises GatewayError for somebody else's database."""
    # One statement: another process may be making the tables, all at once.
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application == _APPLICATION and version == _VERSION:
        return True
    if tables or application:
        raise GatewayError(
            f"{path} is a database of something else, or of another version of modcore; name another file."
        )
    return False
