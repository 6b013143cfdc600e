"""``list-plugins --check``: import every usable entry, in a process of its own.

The child reports one JSON line for each entry. An entry on which it dies or stalls is broken; a
new child goes on with the rest, so that no plugin can spoil the report on the others.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from typing import IO

from modcore.errors import PluginError
from modcore.plugins.discovery import HOOKS, PluginEntry
from modcore.plugins.loading import broken, import_timeout, load, remedy
from modcore.plugins.manager import STRICT, PluginManager

STALL_SECONDS = 30.0  # what imports torch takes a while, and is not broken


def check_plugins(entries: list[PluginEntry]) -> list[PluginEntry]:
    """`entries` with the status ``broken`` for those that cannot be imported and used."""
    stall = import_timeout(os.environ, STALL_SECONDS)
    pending = [entry for entry in entries if entry.status == "ok"]
    errors: dict[PluginEntry, str | None] = {}
    while pending:
        reports = _run_child(pending, stall)
        errors.update(zip(pending, reports, strict=False))
        pending = pending[len(reports) :]
    return [
        entry._replace(status="broken", error=error) if (error := errors.get(entry)) else entry
        for entry in entries
    ]


def _run_child(entries: list[PluginEntry], stall: float) -> list[str | None]:
    """The child's verdicts on the first entries; the last one is on the entry that ended it."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "modcore.plugins.check"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_forward, args=(child.stdout, lines), daemon=True).start()
    try:
        child.stdin.write(json.dumps(entries))
        child.stdin.close()
        return _collect(entries, lines, child, stall)
    finally:
        child.kill()
        child.wait()


def _forward(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _collect(
    entries: list[PluginEntry],
    lines: queue.Queue[str],
    child: subprocess.Popen[str],
    stall: float,
) -> list[str | None]:
    reports: list[str | None] = []
    for entry in entries:
        try:
            line = lines.get(timeout=stall)
        except queue.Empty:
            reports.append(
                f"{entry.describe()} does not finish its import within {stall:g} s; {remedy(entry, None)}"
            )
            return reports
        if not line:
            code = _exit_code(child)
            reports.append(
                f"{entry.describe()} ends the process that imports it (exit code {code}); {remedy(entry, None)}"
            )
            return reports
        reports.append(json.loads(line))
    return reports


def _exit_code(child: subprocess.Popen[str]) -> int:
    """The exit code of a child that reports no more; one that goes on all the same is killed."""
    try:
        return child.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def defect(entry: PluginEntry) -> str | None:
    """Import `entry` here; the sentence that says what is wrong with it, or None."""
    try:
        loaded = load(entry)
        if entry.group == HOOKS:
            PluginManager(entries=[], environ={STRICT: "1"}).register_hooks(entry, loaded)
        elif not callable(loaded):
            raise broken(entry, TypeError(f"{type(loaded).__name__} object is not callable"))
        elif missing := getattr(loaded, "__abstractmethods__", None):
            names = ", ".join(sorted(missing))
            raise broken(entry, TypeError(f"the class does not define {names}"))
    except PluginError as error:
        return str(error)
    return None


def main() -> None:
    """The child: entries on stdin, a JSON line for each on the stdout it was started with."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever plugins print goes where stderr goes
    for fields in json.load(sys.stdin):
        print(json.dumps(defect(PluginEntry(*fields))), file=report, flush=True)


if __name__ == "__main__":
    main()
