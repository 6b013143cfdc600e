"""Text from elsewhere on a person's terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence


def printable(text: str) -> str:
    """`text` with control characters spelled out: metadata must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def warn(sentence: str) -> None:
    """Say on stderr what a person should know; nothing when it is empty."""
    if sentence:
        print(f"warning: {sentence}", file=sys.stderr)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """`rows` of cells as a table, each column as wide as it has to be."""
    shown = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    )


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is, or None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(rows: Sequence[Sequence[str]], spare: Sequence[str], width: int | None) -> str:
    """`columns` in `width`: of the columns that `spare` names as few are left out as that takes, in this order."""
    table = columns(rows)
    for name in spare:
        if width is None or max(map(len, table.splitlines())) <= width:
            break
        place = list(rows[0]).index(name)
        rows = [[*row[:place], *row[place + 1 :]] for row in rows]
        table = columns(rows)
    return table
