"""A process that is told from a later one with the same id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from modcore.gateway.machine import boot_id


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process by its id and `started`: when, as the system says it, in no unit of ours."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that bears `pid` now; None when none does, or it is a zombie."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    @property
    def is_alive(self) -> bool:
        """Whether it is there still."""
        return ProcessIdentity.of(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; whether it was there to take it."""
        with contextlib.suppress(ProcessLookupError):
            if not hasattr(os, "pidfd_open"):
                return self.is_alive and _kill(self.pid, number)
            descriptor = os.pidfd_open(self.pid)
            try:  # looked at once it cannot be mistaken any more
                if self.is_alive:
                    signal.pidfd_send_signal(descriptor, number)
                    return True
            finally:
                os.close(descriptor)
        return False


def _kill(pid: int, number: signal.Signals) -> bool:
    os.kill(pid, number)
    return True


def _started(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        # Clock ticks since this boot (proc(5), fields 3 and 22).
        return None if fields[0] in "ZX" else f"{boot_id()}:{fields[19]}"
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return told.stdout.strip() or None
