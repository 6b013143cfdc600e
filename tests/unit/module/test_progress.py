"""Long work shows what it is doing, on a terminal and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SCRIPT = """
import time
import modcore


class Slow(modcore.ModuleBase):
    def _get_train_tasks(self):
        return lambda: time.sleep(1.6)


Slow(name="slow").update()
"""


def test_step_that_takes_long_is_named_on_a_terminal() -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=child)
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the other end has been closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    assert process.wait() == 0
    assert b"training Slow 'slow'" in shown


def test_nothing_is_shown_where_no_terminal_is() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert done.stderr == done.stdout == b""
