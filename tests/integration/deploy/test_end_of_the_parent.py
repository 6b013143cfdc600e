"""When the launching process is gone, however that came about, nothing of its services is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployed import group_of, write_app
from processes import is_running
from waiting import wait_until

PARENT = """
import os, pathlib, sys, time
from deployed import TOKEN, entry_spec, launch
import modcore
service = launch(entry_spec(pathlib.Path(sys.argv[1]), restarts=3))
worker = modcore.UrlModule(service.url, token=TOKEN)
print(service.pid, worker("child"), flush=True)
if "forked" in sys.argv:
    child = os.fork()  # it holds our end of every pipe
    if child == 0:
        time.sleep(600)
    print(child, flush=True)
if "leaves" not in sys.argv:
    time.sleep(600)
"""


class Parent:
    """A process that has launched a service, which has started a process of its own."""

    def __init__(self, app: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(app), *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self.process.stdout
        self.service, self.grandchild = map(int, self.process.stdout.readline().split())
        self.forked = int(self.process.stdout.readline()) if "forked" in words else None

    @property
    def left(self) -> list[int]:
        pids = {self.service, self.grandchild, *group_of(self.service)}
        return [pid for pid in pids if is_running(pid)]

    def end(self) -> None:
        for pid in (self.process.pid, self.forked):
            if pid is not None and is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def parent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Parent]:
    parent = Parent(write_app(tmp_path), *getattr(request, "param", ()))
    yield parent
    parent.end()


def test_nothing_is_left_two_seconds_after_the_parent_is_killed(parent: Parent) -> None:
    assert len(parent.left) == 3  # the service, its guard, and what it started
    parent.process.kill()
    wait_until(lambda: not parent.left, 2.0)


def test_stopped_service_does_not_outlive_its_parent(parent: Parent) -> None:
    os.kill(parent.service, signal.SIGSTOP)
    parent.process.kill()
    wait_until(lambda: not parent.left, 2.0)


@pytest.mark.parametrize("parent", [("forked",)], indirect=True)
def test_process_that_was_forked_from_the_parent_keeps_no_service_alive(parent: Parent) -> None:
    parent.process.kill()
    wait_until(lambda: not parent.left, 2.0)


@pytest.mark.parametrize("parent", [("leaves",)], indirect=True)
def test_parent_that_ends_without_a_word_takes_its_services_with_it(parent: Parent) -> None:
    assert parent.process.wait(30) == 0
    wait_until(lambda: not parent.left, 2.0)


NESTED = """
import os
import modcore


def inner(what):
    return [os.getpid(), os.getppid()]


module = modcore.ActionModule(modcore.ServerModule(inner, "inner"))
"""

NESTING_PARENT = """
import pathlib, sys, time
from deployed import TOKEN, entry_spec, launch
import modcore
service = launch(entry_spec(pathlib.Path(sys.argv[1])))
print(*modcore.UrlModule(service.url, token=TOKEN)("pids"), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("is_stopped", [False, True])
def test_services_that_a_service_has_started_are_gone_too(tmp_path: Path, is_stopped: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NESTING_PARENT, str(write_app(tmp_path, NESTED))],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout
        inner, outer = map(int, parent.stdout.readline().split())
        if is_stopped:
            os.kill(outer, signal.SIGSTOP)
        parent.kill()
    wait_until(lambda: not group_of(outer) and not group_of(inner), 2.0)


def test_what_a_killed_service_started_is_gone_though_its_parent_is_too(parent: Parent) -> None:
    parent.process.send_signal(signal.SIGSTOP)  # it cannot clean up
    os.kill(parent.service, signal.SIGKILL)
    wait_until(lambda: not parent.left, 2.0)


def test_guard_that_is_killed_harms_nobody_and_the_service_ends_all_the_same(
    parent: Parent,
) -> None:
    [guard] = [pid for pid in parent.left if pid not in (parent.service, parent.grandchild)]
    os.kill(guard, signal.SIGKILL)
    wait_until(lambda: not is_running(guard))
    assert is_running(parent.service)
    parent.process.kill()
    wait_until(lambda: not is_running(parent.service), 2.0)
    os.kill(parent.grandchild, signal.SIGKILL)
