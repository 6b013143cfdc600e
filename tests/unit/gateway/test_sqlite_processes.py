"""sqlite:// between processes: they find the file at once, meet in it, survive forks and deletions."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateways import KEY, instance
from modcore.gateway.sqlite import SqliteGateway

TESTS = Path(__file__).parents[2]
ENTRY = instance().entry(KEY)

BEGIN = """
import sys
sys.path.insert(0, sys.argv[1])
from gateways import instance, KEY
from modcore.gateway.base import GatewayError
from modcore.gateway.sqlite import SqliteGateway
url, number = sys.argv[2], int(sys.argv[3])
entry = instance(number=number).entry(KEY)
print("ready", flush=True)
sys.stdin.readline()
"""


def start(code: str, url: str, number: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, TESTS, url, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def go(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()


def end(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(30)
    finally:
        process.kill()
        process.wait()
        assert process.stdin and process.stdout
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("attempt", range(3))
def test_eight_processes_when_they_make_the_file_at_once_all_meet_in_it(
    tmp_path: Path, attempt: int
) -> None:
    url = f"sqlite:///{tmp_path}/services.db"
    code = "SqliteGateway(url).register(entry, 60)"
    processes = [start(code, url, number) for number in range(8)]
    go(processes)

    assert [end(process) for process in processes] == [0] * 8
    assert len(SqliteGateway(url).resolve()) == 8


def test_a_registration_in_another_process_when_watched_is_noticed_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/services.db"
    gateway = SqliteGateway(url)
    revision = gateway.watch("", 0)
    process = start("SqliteGateway(url).register(entry, 60)", url, 1)
    noticed: list[float] = []

    def watch() -> None:
        if gateway.watch(revision, 20) != revision:
            noticed.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    go([process])
    assert end(process) == 0
    ended = time.monotonic()
    watcher.join()

    assert noticed and noticed[0] - ended < 0.5


def test_processes_whose_file_is_deleted_when_they_go_on_meet_again_in_a_sound_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "services.db"
    url = f"sqlite:///{path}"
    code = """
import time
gateway, others, met = SqliteGateway(url), SqliteGateway(url), False
end = time.monotonic() + 20
while time.monotonic() < end and not met:
    try:
        if not gateway.heartbeat(entry, 60):
            gateway.register(entry, 60)
        # A file where all four are, made after the deletion, which the test says on stdin.
        if others.resolve() and not met and len(others.resolve()) == 4:
            if sys.argv[4:] != ["again"]:
                print("met", flush=True)
                sys.stdin.readline()
                sys.argv.append("again")
            else:
                met = True
    except GatewayError as error:
        print(error, file=sys.stderr)
    time.sleep(0.01)
sys.exit(0 if met else 1)
"""
    processes = [start(code, url, number) for number in range(4)]
    go(processes)
    for process in processes:
        assert process.stdout and process.stdout.readline() == "met\n"
    path.unlink()
    go(processes)

    assert [end(process) for process in processes] == [0] * 4
    gateway = SqliteGateway(url)
    assert len(gateway.resolve()) == 4
    gateway.register(ENTRY, 60)


def test_a_deleted_file_when_a_process_still_has_it_open_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "services.db"
    url = f"sqlite:///{path}"
    code = """
gateway = SqliteGateway(url)
for _ in range(50):
    gateway.register(entry, 60)
print("open", flush=True)
sys.stdin.readline()
gateway.close()
print("closed", flush=True)
sys.stdin.readline()
"""
    process = start(code, url, 1)
    go([process])
    assert process.stdout and process.stdout.readline() == "open\n"
    path.unlink()
    gateway = SqliteGateway(url)
    for number in range(2, 10):
        gateway.register(instance(number=number).entry(KEY), 60)
    go([process])
    assert process.stdout.readline() == "closed\n"  # which tidies up, and not in the new file

    gateway.register(ENTRY, 60)
    gateway.close()
    assert len(SqliteGateway(url).resolve()) == 9
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    go([process])
    assert end(process) == 0


def test_a_forked_child_when_it_uses_the_gateway_opens_the_file_for_itself(tmp_path: Path) -> None:
    gateway = SqliteGateway(f"sqlite:///{tmp_path}/services.db")
    gateway.register(ENTRY, 60)
    other = instance(number=2).entry(KEY)

    def child() -> None:
        gateway.register(other, 60)
        os._exit(0 if len(gateway.resolve()) == 2 else 1)

    with gateway._lock:  # somebody is at work while the fork happens
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
    process.join(20)

    assert process.exitcode == 0
    assert len(gateway.resolve()) == 2


def test_processes_that_make_the_clusters_key_at_once_all_have_the_same(state: Path) -> None:
    code = """
from modcore.gateway.secret import cluster_key
print(cluster_key(url).secret)
"""
    processes = [start(code, "sqlite:///services.db", number) for number in range(6)]
    go(processes)
    secrets = {process.stdout.read() for process in processes if process.stdout}
    assert [end(process) for process in processes] == [0] * 6

    assert len(secrets) == 1
    assert [file.name for file in state.iterdir()] == ["cluster.key"]
