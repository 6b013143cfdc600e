"""What the processes of one machine have in common: a clock that never jumps, and the boot it counts from.

The clock is ``time.monotonic``: on Linux, macOS and Windows one for all processes. It begins again with
the machine, so a time by it means nothing without the boot.
"""

from __future__ import annotations

import functools
from pathlib import Path

_LINUX = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def boot_id() -> str:
    """Another text after each start of this machine; empty where the system does not tell."""
    try:
        return _LINUX.read_text().strip()
    except OSError:
        return ""
