"""What SQLite's errors mean for whoever has to act."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from modcore.gateway.base import GatewayError, GatewayUnavailable

#: Somebody else reads or writes.
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM})
_DAMAGED = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}
)


def explained(error: sqlite3.Error, path: Path) -> GatewayError:
    """What `error` of the database at `path` means for whoever has to act."""
    code = code_of(error)
    if code in BUSY:
        return GatewayUnavailable(f"{path} is being written by another process; try again.")
    if code in _PASSING:
        return GatewayUnavailable(f"{path} cannot be written or read now ({error}).")
    if code in _DAMAGED:
        return GatewayError(
            f"{path} is no database of a gateway, or is damaged ({error}); name another file, or delete it: "
            "services register again by themselves."
        )
    return GatewayError(f"{path} cannot be used ({error}); it has to be readable and writable.")


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code of `error`."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
