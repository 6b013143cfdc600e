"""A process beside each service that outlives it by a moment: nothing of the service is left behind.

The service forks it before it has imported anything. It waits until the service has ended, and kills
what that has started and left in its process group; or until the launcher is gone, and then asks the
service to end, and kills the group soon after, the service too: one that is stopped, or stuck in code
that never comes back, cannot do that itself. `PR_SET_PDEATHSIG` would do less: it follows the thread
that has started the service, and it does not reach what the service has started.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

#: What a service gets to end by itself once nobody is there any more who started it.
LAST_SECONDS = 0.75
#: How often to look, where the system has no descriptors of processes.
_LOOK_SECONDS = 0.2


def start_guard(launcher: int | None, pipe: int) -> None:
    """Fork the guard of this process, which `launcher` (a pid) has started; `pipe` ends with it.

    This process has to have one thread yet. One that does not lead its group gets no guard: the others
    in the group are not its own.
    """
    service = os.getpid()
    if os.getpgid(0) != service:
        return
    known = launcher if os.getppid() == launcher else None  # else there is the pipe alone to tell
    if os.fork() == 0:
        try:
            _guard(service, known, pipe)
        finally:
            os._exit(1)  # whatever happens, the guard never becomes a second service


def _guard(service: int, launcher: int | None, pipe: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever reads what the service writes must not wait for us.
    os.dup2(pipe, 0)
    os.closerange(1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 65536)
    ends = _Ends(service, launcher)
    if ends.wait_for_either():
        with contextlib.suppress(ProcessLookupError):
            os.kill(service, signal.SIGTERM)
        ends.wait_for_service(LAST_SECONDS)
    os.killpg(os.getpgid(0), signal.SIGKILL)  # ourselves last: we are of this group


class _Ends:
    """Tells when the service, our parent, or its launcher has ended."""

    def __init__(self, service: int, launcher: int | None) -> None:
        self._service = service
        self._service_end = _descriptor(service)
        self._launcher_end = None if launcher is None else _descriptor(launcher)

    def wait_for_either(self) -> bool:
        """Wait; whether it is the launcher that has gone."""
        watched = [0, *filter(None, (self._service_end, self._launcher_end))]
        while True:
            seconds = None if self._service_end else _LOOK_SECONDS
            ready = select.select(watched, (), (), seconds)[0]
            if self._has_service_ended(ready):
                return False
            if self._launcher_end in ready or (0 in ready and not os.read(0, 4096)):
                return True

    def wait_for_service(self, seconds: float) -> None:
        """Wait at most `seconds` for the service to end."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            watched = [self._service_end] if self._service_end else []
            ready = select.select(watched, (), (), min(left, _LOOK_SECONDS))[0]
            if self._has_service_ended(ready):
                return

    def _has_service_ended(self, ready: list[int]) -> bool:
        return self._service_end in ready or os.getppid() != self._service


def _descriptor(pid: int) -> int | None:
    """A descriptor that can be read once the process `pid` has ended; None where there are none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
