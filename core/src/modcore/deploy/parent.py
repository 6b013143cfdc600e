"""The child's side of the local launcher: end when the parent does, and take what it hands over."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

#: Set for a child whose standard input is its parent's pipe.
PARENT_PIPE = "MODCORE_PARENT_PIPE"


#: What a child gets to end by itself; whatever holds it up, it does not outlive its parent longer.
LAST_SECONDS = 10.0


#: The number of the pipe over which the parent hands bytes that nobody else may see.
PAYLOAD_PIPE = "MODCORE_PAYLOAD_PIPE"


def read_payload() -> bytes | None:
    """What the parent hands over, or None; can be read once."""
    number = os.environ.pop(PAYLOAD_PIPE, None)
    if number is None:
        return None
    with os.fdopen(int(number), "rb") as pipe:
        return pipe.read()


def end_with_parent() -> None:
    """Ask this process to end when its parent's pipe closes; does nothing without a launcher."""
    if os.environ.pop(PARENT_PIPE, None):
        threading.Thread(target=_wait_for_parent, name="parent", daemon=True).start()


def _wait_for_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_SECONDS)
    os._exit(1)
