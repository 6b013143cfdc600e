"""The last snapshot in a file, so that a new process can call services while the store is down.

The file holds the signed documents as they were in the store: whoever reads it verifies them again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from modcore.errors import ServiceError
from modcore.gateway.addresses import shown
from modcore.gateway.base import Entry
from modcore.state_directory import part_of_state, write_private

TOUCH_EVERY = 30.0  # seconds
MAX_FILE = 64 * 1024 * 1024  # bytes


class SnapshotFile:
    """`path`, readable for this user alone; its time of change is when the content was last known good.

    Reading and keeping raise nothing: a snapshot that cannot be kept is no reason to stop.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written_at = -math.inf

    @classmethod
    def of(cls, url: str) -> SnapshotFile:
        """The file for the gateway at `url`, in the state directory."""
        name = hashlib.sha256(shown(url).encode()).hexdigest()[:16]
        return cls(part_of_state("gateways") / f"{name}.json")

    def keep(self, entries: Iterable[Entry], changed: bool) -> None:
        """`entries` are good now; they are written when they have `changed`, else now and then noted."""
        now = time.monotonic()
        if changed or self._written_at == -math.inf:
            self.save(entries)
        elif now - self._written_at > TOUCH_EVERY:
            with contextlib.suppress(OSError):
                os.utime(self.path)
        else:
            return
        self._written_at = now

    def save(self, entries: Iterable[Entry]) -> bool:
        """Replace the content, all or nothing; whether that went well."""
        try:
            content = {"v": 1, "entries": [asdict(entry) for entry in entries]}
            write_private(self.path, json.dumps(content))
        except (ServiceError, ValueError):
            return False
        return True

    def load(self) -> tuple[list[Entry], float]:
        """The entries, and how many seconds ago they were known good; no entries when there is no file."""
        try:
            with self.path.open("rb") as file:
                age = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
                content = json.loads(file.read(MAX_FILE))
            return [_entry(each) for each in content["entries"]], age
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return [], 0.0


def _entry(values: dict[str, object]) -> Entry:
    fields = {name: values[name] for name in ("service", "id", "epoch", "document")}
    if not all(isinstance(value, str) for value in fields.values()):
        raise TypeError("an entry holds texts")
    return Entry(**fields)  # type: ignore[arg-type]
