"""Where modcore keeps what outlives a process: keys, logs, what is deployed."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from modcore.errors import ServiceError

STATE_DIR = "MODCORE_STATE_DIR"


def state_directory() -> Path:
    """The directory, made when it is not there: ``MODCORE_STATE_DIR``, else the platform's.

    It is this user's alone (0700). Raises ServiceError when it cannot be, or belongs to somebody else.
    """
    directory = _place()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise ServiceError(
            f"The state directory {directory} cannot be used ({error.strerror}); name another in {STATE_DIR}."
        ) from error
    if hasattr(os, "getuid") and (
        status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise ServiceError(
            f"The state directory {directory} can be written by others; make it yours alone "
            f"(chmod 700), or name another in {STATE_DIR}."
        )
    return directory


def part_of_state(name: str) -> Path:
    """The directory `name` in it, made when it is not there; raises ServiceError when it cannot be."""
    directory = state_directory() / name
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"The directory {directory} cannot be made ({error.strerror})."
        ) from error
    return directory


def write_private(path: Path, text: str) -> None:
    """Write a file for this user alone, whole or not at all; raises ServiceError when that fails."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ServiceError(f"{path} cannot be written ({error.strerror}).") from error


def _place() -> Path:
    named = os.environ.get(STATE_DIR)
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("modcore", appauthor=False)
