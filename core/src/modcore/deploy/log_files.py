"""The log files of services: bounded, this user's alone, each line with its time."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from modcore.errors import ServiceError
from modcore.state_directory import state_directory

#: A file that has grown over this many bytes becomes ``<name>.log.1``, in the place of an older one.
MAX_BYTES = 8 * 1024 * 1024
#: Longer lines are cut: a child that prints without end does not fill our memory.
MAX_LINE = 16 * 1024
_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")


def log_path(name: str, replica: int) -> Path:
    """Where the output of an instance of the service `name` is kept; the directory is made.

    Raises ServiceError when it cannot be made.
    """
    return log_directory() / f"{_file_name(name)}-{replica}.log"


def log_directory() -> Path:
    """The directory of all log files; made when it is not there."""
    directory = state_directory() / "logs"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"The directory of logs {directory} cannot be made ({error.strerror})."
        ) from error
    return directory


def log_paths(name: str) -> dict[int, Path]:
    """The log files of a service that are there, by replica."""
    pattern = re.compile(re.escape(_file_name(name)) + r"-(\d+)\.log")
    found = (
        (pattern.fullmatch(path.name), path) for path in (state_directory() / "logs").glob("*.log")
    )
    return {int(match[1]): path for match, path in sorted(found, key=lambda one: one[1]) if match}


def _file_name(name: str) -> str:
    """A name of a module may hold anything; none of it leads out of the directory."""
    return _OTHERS.sub("_", name).lstrip(".")[:128] or "_"


class LogFile:
    """Takes lines, from any thread; `secrets` in them are not written.

    Several processes may write to one path: each line is one write.
    """

    def __init__(self, path: Path, secrets: Sequence[str] = ()) -> None:
        self.path = path
        self._secrets = [secret for secret in secrets if secret]
        self._lock = threading.Lock()
        self._file = -1
        self._open()

    def write(self, line: str) -> str:
        """Add a line with the time; returns the line as it was written, without the time.

        A disk that is full costs lines, and nothing else.
        """
        told = self.without_secrets(line)
        stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with self._lock, contextlib.suppress(OSError):
            if self._file >= 0:
                os.write(self._file, f"{stamp} {told}\n".encode(errors="replace"))
                if os.fstat(self._file).st_size > MAX_BYTES:
                    self._rotate()
        return told

    def without_secrets(self, line: str) -> str:
        """`line`, cut to what one line may be, with a sign where a secret stood."""
        for secret in self._secrets:
            line = line.replace(secret, "(secret)")
        return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} (cut)"

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _rotate(self) -> None:
        with contextlib.suppress(
            FileNotFoundError
        ):  # somebody else has moved it: there is a new one
            if os.path.samestat(os.fstat(self._file), self.path.stat()):
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        os.close(self._file)
        self._file = -1
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.open(self.path, flags, 0o600)


def open_log(path: Path, secrets: Sequence[str] = ()) -> LogFile:
    """The log file at `path`; raises ServiceError when it cannot be written."""
    try:
        return LogFile(path, secrets)
    except OSError as error:
        raise ServiceError(f"The log file {path} cannot be written ({error.strerror}).") from error


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log file, those that were moved aside too."""
    lines: list[str] = []
    for each in (path, path.with_name(f"{path.name}.1")):
        missing = count - len(lines)
        if missing > 0:
            with contextlib.suppress(FileNotFoundError):
                text = each.read_text("utf-8", errors="replace")
                told = text.removesuffix("\n").split("\n") if text else []
                lines = [*told[-missing:], *lines]
    return lines
