"""A checkpoint directory read as data: its JSON files, with errors that name the file.

Knows nothing of tensors, torch or plugins. No code from a checkpoint directory ever runs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from modcore.errors import CheckpointError

MAX_JSON_BYTES = 64 * 1024 * 1024


def checkpoint_directory(path: str | Path) -> Path:
    """The directory of a checkpoint; raises CheckpointError when there is none at `path`."""
    if not str(path):
        raise CheckpointError("The path of the checkpoint is empty; name its directory.")
    directory = Path(os.path.expanduser(path))  # noqa: PTH111  leaves an unknown ~user as it is
    if directory.is_dir():
        return directory
    if directory.exists():
        raise CheckpointError(
            f"{directory} is a file; name the checkpoint directory that holds config.json "
            "and the safetensors files."
        )
    raise CheckpointError(
        f"There is no checkpoint directory {directory}. modcore reads local Hugging Face "
        "checkpoints and downloads nothing; check the path."
    )


def read_config(path: str | Path) -> dict[str, Any]:
    """``config.json`` of the checkpoint at `path`, as the JSON object it is."""
    directory = checkpoint_directory(path)
    file = directory / "config.json"
    if not file.is_file():
        raise CheckpointError(
            f"{directory} has no config.json, so it is not a Hugging Face checkpoint; "
            "name a directory written by save_pretrained()."
        )
    return read_json_object(file)


def read_json_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`; raises CheckpointError with the place of the mistake."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(
                f"{file} is larger than {MAX_JSON_BYTES >> 20} MiB, which no {file.name} is; "
                "replace it by the original one."
            )
        value = json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise CheckpointError(
            f"{file} is not UTF-8 text; replace it by the original one."
        ) from None
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"{file} is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}); "
            "repair it or fetch it again."
        ) from None
    except RecursionError:
        raise CheckpointError(
            f"{file} is nested too deeply to be read; replace it by the original one."
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise CheckpointError(
            f"{file} cannot be read ({error}); replace it by the original one."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{file} holds a JSON {type(value).__name__} where an object is expected; "
            "replace it by the original one."
        )
    return value
