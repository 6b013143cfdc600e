"""The directory that a training writes to: what is in it, whose it is, and what can be gone on with.

`RECORD` says which run a directory belongs to and which files are its result. The result is complete
before any of it gets its name, and config.json, without which nothing reads it, gets it last.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modcore.checkpoint import read_json_object
from modcore.errors import CheckpointError, ModcoreError

RECORD = "modcore_training.json"
_NEW_RECORD = f"{RECORD}.new"
UNFINISHED = "result.unfinished"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
#: transformers writes it last of a checkpoint's files.
_LAST_WRITTEN = "trainer_state.json"

#: What a run is made of; another one is not resumed, and its result is not taken for this one's.
Fingerprint = Mapping[str, Any]


class Target:
    """The directory `path`, where a training puts its checkpoints and its result."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    def verify(self) -> None:
        """Raise CheckpointError when what is there is not ours to change."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise CheckpointError(f"target_path {self.path} is a file; name a directory.")
        names = {entry.name for entry in self.path.iterdir()} - {_NEW_RECORD}
        if names and RECORD not in names:
            raise CheckpointError(
                f"target_path {self.path} holds files that no training of modcore wrote (there is no "
                f"{RECORD}), and training would overwrite them; name an empty or a new directory."
            )

    @property
    def is_finished(self) -> bool:
        """Whether there is a whole result."""
        record = self._record()
        return bool(record.get("finished")) and all(
            (self.path / name).is_file() for name in record.get("files", ["missing"])
        )

    def holds(self, fingerprint: Fingerprint) -> bool:
        """Whether there is a whole result of the run with this fingerprint."""
        return self.is_finished and self._record().get("fingerprint") == fingerprint

    @property
    def holds_adapter(self) -> bool:
        """Whether the result is a LoRA adapter that was not merged."""
        return self.is_finished and (self.path / "adapter_config.json").is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else trains here meanwhile; raises ModcoreError when somebody does."""
        self.path.mkdir(parents=True, exist_ok=True)
        # A lock of the directory itself: nothing stays behind, however the process ends.
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise ModcoreError(
                f"Another training writes to {self.path}; wait for it, or name another target_path."
            ) from None
        finally:
            os.close(handle)

    def begin(self, fingerprint: Fingerprint) -> Path | None:
        """Make ready for the run; the checkpoint that it goes on from, or None to begin anew.

        What another run left here is removed; files that no run wrote stay.
        """
        record = self._record()
        if record.get("fingerprint") != fingerprint:
            self._remove_result(record)
            for checkpoint in self._checkpoints():
                shutil.rmtree(checkpoint)
        self._write({"fingerprint": dict(fingerprint), "finished": False, "files": []})
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
        return self._last_complete()

    def publish(self, fingerprint: Fingerprint) -> None:
        """Give the files in `unfinished` their places; then the checkpoints are not needed any more."""
        names = sorted(file.name for file in self.unfinished.iterdir())
        names.sort(key="config.json".__eq__)  # last
        record = {"fingerprint": dict(fingerprint), "finished": False, "files": names}
        self._write(record)
        for name in names:
            (self.unfinished / name).replace(self.path / name)
        self._write({**record, "finished": True})
        for directory in (self.unfinished, *self._checkpoints()):
            shutil.rmtree(directory)

    @property
    def unfinished(self) -> Path:
        """Where a result is written."""
        return self.path / UNFINISHED

    def _last_complete(self) -> Path | None:
        """The newest checkpoint that was written to its end; those after it are removed."""
        for checkpoint in reversed(self._checkpoints()):
            if _is_complete(checkpoint):
                return checkpoint
            shutil.rmtree(checkpoint)
        return None

    def _checkpoints(self) -> list[Path]:
        found = [
            (int(match[1]), entry)
            for entry in self.path.iterdir()
            if (match := _CHECKPOINT.fullmatch(entry.name))
            and entry.is_dir()
            and not entry.is_symlink()
        ]
        return [entry for _, entry in sorted(found)]

    def _remove_result(self, record: Mapping[str, Any]) -> None:
        # Without config.json it is no checkpoint any more, so that goes first.
        for name in sorted(record.get("files", []), key="config.json".__ne__):
            if Path(name).name == name:
                (self.path / name).unlink(missing_ok=True)

    def _record(self) -> dict[str, Any]:
        file = self.path / RECORD
        return read_json_object(file) if file.is_file() else {}

    def _write(self, record: Mapping[str, Any]) -> None:
        beside = self.path / _NEW_RECORD
        beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path / RECORD)


def fingerprint_of(base: Path, trainset: str, method: Mapping[str, Any]) -> Fingerprint:
    """What makes a run: the base checkpoint as it is now, the trainset's digest, the method."""
    return {
        "base": str(base.resolve()),
        "base_files": _digest_of_files(base),
        "trainset": trainset,
        "method": dict(method),
    }


def _digest_of_files(directory: Path) -> str:
    """A hash of names, sizes and times: reading the weights themselves could take minutes."""
    files = sorted(file for file in directory.iterdir() if file.is_file())
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _is_complete(checkpoint: Path) -> bool:
    file = checkpoint / _LAST_WRITTEN
    try:
        return file.is_file() and "global_step" in read_json_object(file)
    except CheckpointError:
        return False
