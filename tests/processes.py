"""What other processes do, as /proc tells it."""

from __future__ import annotations

from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether there is a process `pid` that has not ended; one that nobody has waited for has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def children_of(pid: int) -> set[int]:
    """The processes that `pid` has started, by any of its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(each) for path in lists for each in path.read_text().split()}
