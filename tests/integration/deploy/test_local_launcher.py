"""The local launcher: a service in a process of its own, told from its words, ended with its parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from modcore.errors import ServiceError
from modcore.plugins import PluginManager, ServiceSpec
from processes import is_running
from waiting import wait_until


def spec(checkpoint: Path, *words: str) -> ServiceSpec:
    return ServiceSpec(name="poet", command=("serve", str(checkpoint), "--port", "0", *words))


def test_service_answers_until_it_is_stopped(text_checkpoint: Path) -> None:
    service = PluginManager().deploy(spec(text_checkpoint))
    url = service.url
    with urllib.request.urlopen(f"{url}/health") as answer:
        assert answer.status == 200
    assert service.stop() == 0
    assert service.url == ""
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{url}/health")


def test_service_that_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"exit code 1.*(\n.*)*nowhere"):
        PluginManager().deploy(spec(tmp_path / "nowhere"))


def test_service_that_is_not_ready_in_time_is_ended(text_checkpoint: Path) -> None:
    late = ServiceSpec(
        name="late", command=("serve", str(text_checkpoint), "--port", "0"), ready_timeout=0.05
    )
    with pytest.raises(ServiceError, match=r"not ready within 0\.05 s"):
        PluginManager().deploy(late)


PARENT = """
import sys, time
from modcore.plugins import PluginManager, ServiceSpec
service = PluginManager().deploy(ServiceSpec(name="x", command=("serve", sys.argv[1], "--port", "0")))
print(service.pid, flush=True)
time.sleep(600)
"""


def test_service_ends_when_its_parent_is_killed(text_checkpoint: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(text_checkpoint)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_running(child), 10, "the service ends with its parent")
