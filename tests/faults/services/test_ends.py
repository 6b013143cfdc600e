"""What is left when a program is killed, and how soon a failure is told."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import modcore
from modcore.errors import ServiceError
from processes import is_running
from waiting import wait_until

PATIENCE = 60.0

PROGRAM = """
import signal, sys, time
import modcore
class Stubborn(modcore.ModuleBase):
    def setup(self):
        import os
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.sleeper = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
    def forward(self):
        import os
        return [os.getpid(), self.sleeper]
class Outer(Stubborn):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self):
        return super().forward() + self.inner()
inner = modcore.ServerModule(Stubborn(), "inner", replicas=2, gateway=sys.argv[1])
outer = modcore.ServerModule(Outer(inner), "outer", gateway=sys.argv[1]).start()
pids = set()
while len(pids) < 6:
    pids |= set(outer())
print(*pids, flush=True)
time.sleep(600)
"""


def test_program_that_is_killed_leaves_no_process_behind(gateway: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, gateway], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout
    with program.stdout:
        pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 6 and all(map(is_running, pids))
    program.kill()
    program.wait()
    wait_until(lambda: not any(map(is_running, pids)), 2.0, "nothing is left")


FAILING = """
import os, time
if os.getpid() != {parent}:
    raise ImportError(f"libnowhere.so: cannot open, at {{time.time()}}")
import modcore
class Module(modcore.ModuleBase):
    def forward(self):
        return 1
"""


@pytest.mark.parametrize("others", [0, 3])
def test_import_that_fails_is_told_within_a_second(
    gateway: str, others: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from served_modules import SlowToLoad

    (tmp_path / "failing_here.py").write_text(FAILING.format(parent=os.getpid()))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_here", raising=False)
    import failing_here

    bad = modcore.ServerModule(failing_here.Module(), "bad", gateway=gateway)
    beside = [modcore.ServerModule(SlowToLoad(), gateway=gateway) for _ in range(others)]
    with pytest.raises(ServiceError, match="cannot be imported") as caught:
        modcore.ActionModule(modcore.pipeline(bad, *beside)).start()
    told = time.time()
    failed = float(str(caught.value).partition("cannot open, at ")[2].partition(")")[0])
    assert told - failed < 1.0
