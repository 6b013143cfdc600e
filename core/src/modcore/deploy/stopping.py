"""Ending services: our own supervisors by their process, instances elsewhere over HTTP."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from modcore.deploy.asking import Answer, ask_to_end, state_of
from modcore.deploy.inventory import Row
from modcore.deploy.service_records import forget_dead, read_record

_LOOK_SECONDS = 0.05
_LAST_SECONDS = 5.0  # that each harder way of asking gets


def stop_local(name: str, timeout: float) -> str | None:
    """End the supervisor of the service `name` on this machine; says how, None when there is none.

    It may drain for `timeout` seconds, is then asked to leave at once, and at last killed: its instances
    end with it.
    """
    record = read_record(name)
    if record is None:
        return None
    supervisor = record.supervisor
    if not supervisor.is_alive:
        forget_dead(name)
        return "dead already"
    ways = (
        (signal.SIGTERM, timeout, "stopped"),
        (signal.SIGTERM, _LAST_SECONDS, "stopped at once"),
        (signal.SIGKILL, _LAST_SECONDS, "killed"),
    )
    for number, seconds, outcome in ways:
        supervisor.send(number)
        if _becomes(lambda: not supervisor.is_alive, seconds):
            forget_dead(name)
            return outcome
    return "still there"


def stop_remote(rows: Sequence[Row], token: str | None, timeout: float) -> dict[str, str]:
    """Ask the instances in `rows` to drain and end; what became of each, by id."""
    asked = {row.id: ask_to_end(row.url, token) for row in rows}
    end = time.monotonic() + timeout
    return {row.id: _outcome(row, asked[row.id], max(0.0, end - time.monotonic())) for row in rows}


def _outcome(row: Row, said: Answer, seconds: float) -> str:
    if said.is_refused:  # its registration outlives it by the time to live
        return "dead already"
    if not said.status:
        return "did not answer"
    if said.status not in (200, 202):
        return f"cannot be ended from here (status {said.status}): end it where it was started"
    is_gone = _becomes(lambda: state_of(row.url) == "silent", seconds)
    return "stopped" if is_gone else "still draining"


def _becomes(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until `condition` holds, `seconds` at most; whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
