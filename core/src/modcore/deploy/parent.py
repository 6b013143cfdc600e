"""The child's side of the local launcher: end when the parent does, and take what it hands over."""

from __future__ import annotations

import os
import signal
import threading

#: Holds the launcher's pid, for a child whose standard input is the launcher's pipe.
PARENT_PIPE = "MODCORE_PARENT_PIPE"

#: The number of the pipe over which the parent hands bytes that nobody else may see.
PAYLOAD_PIPE = "MODCORE_PAYLOAD_PIPE"


def read_payload() -> bytes | None:
    """What the parent hands over, or None; can be read once."""
    number = os.environ.pop(PAYLOAD_PIPE, "")
    try:
        with os.fdopen(int(number), "rb") as pipe:
            return pipe.read()
    except (OSError, ValueError):  # nobody has handed over anything
        return None


def end_with_parent() -> None:
    """Make sure that this process, and what it starts, ends with its launcher; nothing without one.

    To be called before anything else: see `start_guard`.
    """
    launcher = os.environ.pop(PARENT_PIPE, None)
    if launcher is None:
        return
    from modcore.deploy.guard import start_guard

    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what the module reads there is not the launcher's pipe
    os.close(nothing)
    start_guard(int(launcher) if launcher.isdecimal() else None, pipe)
    # Besides the guard, which somebody may have killed.
    threading.Thread(target=_end_with, args=(pipe,), name="parent", daemon=True).start()


def _end_with(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
