"""The command: its options, how it starts and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from front_doors import Cluster
from waiting import wait_until


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MODCORE_")}
    return subprocess.run(
        [sys.executable, "-m", "modcore", "gateway", *words],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--gateway: there is no gateway"),
        (
            ["--gateway", "memory://"],
            "--gateway: A gateway in memory:// is seen by this process alone",
        ),
        (["--gateway", "nowhere"], "has no scheme"),
        (["--gateway", "redis9://x"], "redis9://"),
        (["--port", "99999"], "--port: 99999"),
        (["--timeout", "0"], "--timeout"),
        (["--timeout", "nan"], "--timeout"),
        (["--capacity", "0"], "--capacity"),
        (["--service-capacity", "-1"], "--service-capacity"),
        (["--api-key", ""], "--api-key: the key has to be"),
        (["--api-key-file", "/nowhere"], "--api-key-file: /nowhere cannot be read"),
        (["--gateway", "sqlite:///x.db", "--host", "0.0.0.0"], "--host: 0.0.0.0 can be reached"),
        (["--gateway", "sqlite:///x.db", "--host", "example.invalid"], "--host"),
    ],
)
def test_an_option_that_cannot_be_is_refused(words: list[str], told: str, tmp_path: Path) -> None:
    done = run(*words, MODCORE_STATE_DIR=str(tmp_path))
    assert done.returncode in (1, 2)
    assert told in done.stderr and "Traceback" not in done.stderr


def test_modcore_serve_registers_nowhere_that_a_front_door_could_not_look(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "modcore", "serve", str(tmp_path), "--gateway", "memory://"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--gateway: A gateway in memory:// is seen by this process alone" in done.stderr


def test_an_empty_key_in_the_environment_opens_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    done = run("--gateway", url, MODCORE_API_KEY=" ", MODCORE_STATE_DIR=str(tmp_path))
    assert done.returncode == 2 and "the key has to be printable" in done.stderr


def test_the_help_says_that_a_key_on_a_command_line_is_visible() -> None:
    told = " ".join(run("--help").stdout.split())
    assert "anyone on this machine can read a command line" in told
    assert "MODCORE_GATEWAY" in told


def test_a_key_from_a_file_is_asked_for_and_stands_on_no_command_line(
    cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("a key of mine\n")
    door = cluster.front_door("--api-key-file", str(file))
    assert door.ask("/services").status == 401
    assert door.ask("/services", authorization="Bearer a key of mine").status == 200
    assert "a key of mine" not in Path(f"/proc/{door.process.pid}/cmdline").read_text()


def test_told_to_end_it_lets_calls_finish(cluster: Cluster) -> None:
    cluster.service("echo")
    door = cluster.front_door()
    wait_until(lambda: door.instances("echo"))
    with contextlib.closing(door.connect()) as connection:
        connection.request("POST", "/stream/echo", json.dumps({"args": ["slow", 20, 1]}))
        response = connection.getresponse()
        response.readline()
        door.process.send_signal(signal.SIGTERM)
        assert response.read().endswith(b'data: {"done": true}\n\n')
    assert door.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_call_that_does_not_end_is_ended_with_an_error(
    cluster: Cluster, number: signal.Signals
) -> None:
    service = cluster.service("echo")
    door = cluster.front_door()
    wait_until(lambda: door.instances("echo"))
    with contextlib.closing(door.connect()) as connection:
        connection.request("POST", "/stream/echo", json.dumps({"args": ["slow", 100000, 1]}))
        response = connection.getresponse()
        response.readline()
        with contextlib.closing(HTTPConnection("127.0.0.1", connection.port)) as other:
            other.request("POST", "/call/echo", json.dumps({"args": ["wait"]}))
            wait_until(lambda: service.ask("/health").json["under_way"] == 2)
            door.process.send_signal(number)
            assert b"The front door is shutting down" in response.read().split(b"\n\n")[-2]
            refused = other.getresponse()
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert door.process.wait(10) == 0
    wait_until(lambda: not service.ask("/health").json["under_way"])


def test_errors_of_clients_write_no_line_and_no_traceback(cluster: Cluster) -> None:
    door = cluster.front_door()
    door.call("nobody")
    door.ask("/v1/completions", b"{")
    door.ask("/nowhere")
    door.stop()
    assert door.errors == []
