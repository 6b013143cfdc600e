"""Where a service's logs can be read: files of this machine, or its instances over HTTP."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modcore.deploy.asking import log_lines
from modcore.deploy.inventory import Inventory
from modcore.deploy.log_files import last_lines, log_paths
from modcore.errors import ServiceError

_LOOK_SECONDS = 0.2
_ASK_SECONDS = 1.0
_MOST = 10_000  # lines that an instance tells at once
_OVERLAP = 1000  # lines that an instance is asked for again, to see what is new


@dataclass(frozen=True, slots=True)
class LogSource:
    """The log of one instance, by its `label`; `replica` is None where nobody here knows it.

    `last` gives its last lines; `new` each line that is there since it was asked before, for ever.
    """

    label: str
    replica: int | None
    last: Callable[[int], list[str]]
    new: Callable[[], Iterator[list[str]]]
    pause: float


def log_sources(name: str, inventory: Inventory) -> list[LogSource]:
    """The logs of the service `name`: local files, and what the gateway's other instances tell."""
    sources = [
        _file(f"{name}-{replica}", replica, path) for replica, path in log_paths(name).items()
    ]
    elsewhere = [row for row in inventory.rows(name) if not row.is_ours and row.url]
    token = inventory.token(name) if elsewhere else None
    return sources + [_instance(f"{name} at {row.url}", row.url, token) for row in elsewhere]


def last(sources: Sequence[LogSource], count: int) -> list[tuple[str, str]]:
    """The last `count` lines of all, in the order of their times, each with its source's label."""
    each = [[(source.label, line) for line in source.last(count)] for source in sources]
    lines = list(heapq.merge(*each, key=lambda one: one[1][:24]))
    return lines[-count:] if count else []


class Following:
    """What `sources` print from the moment when this is made."""

    def __init__(self, sources: Sequence[LogSource]) -> None:
        self._readers = [(source.label, source.new()) for source in sources]
        self._pause = max(source.pause for source in sources)
        for _, reader in self._readers:
            next(reader)

    def lines(self, shown: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Each line, for ever; what has come since that moment and is among `shown` is left out."""
        known = set(shown)
        while True:
            for label, reader in self._readers:
                yield from (
                    line for line in ((label, each) for each in next(reader)) if line not in known
                )
            known = set()
            time.sleep(self._pause)


def _file(label: str, replica: int, path: Path) -> LogSource:
    return LogSource(
        label, replica, lambda count: last_lines(path, count), lambda: _grown(path), _LOOK_SECONDS
    )


def _grown(path: Path) -> Iterator[list[str]]:
    """The lines that a file has grown by, across its rotation."""
    file = path.open("rb")
    file.seek(0, os.SEEK_END)
    rest = b""
    while True:
        *lines, rest = (rest + file.read()).split(b"\n")
        yield [line.decode("utf-8", errors="replace") for line in lines]
        if not _is_same(path, file.fileno()):
            lines = (rest + file.read()).split(b"\n")  # what came before it was moved aside
            yield [line.decode("utf-8", errors="replace") for line in lines if line]
            file.close()
            file, rest = path.open("rb"), b""


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return True  # for now: it is being moved


def _instance(label: str, url: str, token: str | None) -> LogSource:
    def told(count: int) -> list[str]:
        lines = log_lines(url, token, min(count, _MOST))
        if lines is None:
            raise ServiceError(f"{label} tells no log: it has none, or does not answer.")
        return lines

    return LogSource(label, None, told, lambda: _told(url, token), _ASK_SECONDS)


def _told(url: str, token: str | None) -> Iterator[list[str]]:
    """What an instance's last lines are new by; one that is away is asked again."""
    before = log_lines(url, token, _OVERLAP) or []
    while True:
        now = log_lines(url, token, _OVERLAP)
        yield [] if now is None else now[_known(before, now) :]
        before = before if now is None else now


def _known(before: list[str], now: list[str]) -> int:
    """How many of the lines in `now` were the last ones in `before`."""
    for start in range(len(before)):
        if now[: len(before) - start] == before[start:]:
            return len(before) - start
    return 0
