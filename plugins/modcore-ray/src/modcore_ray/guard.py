"""A process beside a Ray of our own: it ends what Ray leaves behind, and takes its directory away.

Ray's processes die with the program that has started them, but its agents are told of that by their
node and try for a minute to tell a head that has died too.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from modcore.deploy.process_identity import ProcessIdentity


def start_guard(place: Path) -> subprocess.Popen[bytes]:
    """Watch over the Ray below `place`, whose processes descend from this one.

    It acts when its standard input closes, however that comes about.
    """
    import psutil

    ours = (ProcessIdentity.of(each.pid) for each in psutil.Process().children(recursive=True))
    rays = [asdict(each) for each in ours if each is not None and _is_rays(each.pid)]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "modcore_ray.guard", str(place), json.dumps(rays)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _is_rays(pid: int) -> bool:
    """Whether it is a process that a node of Ray has started."""
    import psutil

    try:
        return any(parent.name() == "raylet" for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return False


def main(place: str, processes: str) -> None:
    """Wait for the end of the program, and clear up."""
    sys.stdin.buffer.read()
    for each in json.loads(processes):
        ProcessIdentity(**each).send(signal.SIGKILL)
    shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
