"""Reading jsonl files: one JSON value a line, and errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modcore.errors import InvalidRequest


def read_jsonl(file: Path, param: str) -> Iterator[tuple[Any, str]]:
    """What each line of `file` holds, and where that is; empty lines are passed over.

    Raises InvalidRequest, about `param`, for a line that cannot be read.
    """
    # Split as bytes: str.splitlines() would also split at U+2028, which JSON allows in a text.
    for number, line in enumerate(file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            place = f"{file}, line {number}"
            yield _parse(line, place, param), place


def _parse(line: bytes, place: str, param: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        problem = "this is not UTF-8 text; save the file as UTF-8"
    except json.JSONDecodeError as error:
        problem = f"this is not JSON ({error.msg} at column {error.colno}); one value a line"
    except (
        RecursionError,
        ValueError,
    ) as error:  # nested without end, a number of thousands of digits
        problem = f"this cannot be read ({error}); correct the line"
    raise InvalidRequest(f"{place}: {problem}.", param=param)
