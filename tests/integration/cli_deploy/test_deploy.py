"""``modcore deploy``, ``ps``, ``logs`` and ``stop``, as they are typed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import modcore
from deployed import events, group_of, modcore_command, rows, write_app
from processes import is_running
from python_processes import PythonProcess
from waiting import wait_until


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = tmp_path / "state"
    monkeypatch.setenv("MODCORE_STATE_DIR", str(directory))
    monkeypatch.setenv("MODCORE_API_KEY", "the key of the tests")
    yield directory
    for record in (directory / "services").glob("*.json"):
        with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
            os.kill(json.loads(record.read_text())["supervisor"]["pid"], signal.SIGKILL)


@pytest.fixture
def app(tmp_path: Path) -> str:
    return f"{write_app(tmp_path)}:module"


SLOW_TO_LOAD = """
import time
time.sleep(600)
def module():
    return 0
"""

#: The first process of it is well, the second is not.
ONE_IS_WELL = """
import os, pathlib
try:
    os.close(os.open(pathlib.Path(__file__).with_name("taken"), os.O_CREAT | os.O_EXCL))
except FileExistsError:
    raise MemoryError("there is room for one")
def module():
    return os.getpid()
"""


class Foreground(PythonProcess):
    """A running ``modcore deploy --json``, which is killed at the end of its block."""

    def __init__(self, *words: str) -> None:
        super().__init__(["-m", "modcore", "deploy", *words, "--json"])

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def event(self) -> dict[str, Any]:
        line = self.stdout.readline()
        assert line, self.errors
        told: dict[str, Any] = json.loads(line)
        return told

    def end(self) -> list[dict[str, Any]]:
        """Wait for the end; the last events."""
        return events(self.stdout.readlines())


def called(url: str, *args: object) -> Any:
    return modcore.UrlModule(url, token="the key of the tests")(*args)


def listed() -> list[dict[str, Any]]:
    return rows(modcore_command("ps", "--json").stdout)


def pids(found: Sequence[dict[str, Any]]) -> list[int]:
    return [row["pid"] for row in found]


def supervisor_of(state: Path, name: str) -> int:
    pid: int = json.loads((state / "services" / f"{name}.json").read_text())["supervisor"]["pid"]
    return pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_deploy_stays_says_each_url_and_drains_when_it_is_told_to_end(
    app: str, number: signal.Signals
) -> None:
    with Foreground(app, "--replicas", "2", "--name", "web") as deployed:
        first, second = deployed.event(), deployed.event()
        assert {(each["event"], each["replica"]) for each in (first, second)} == {
            ("ready", 0),
            ("ready", 1),
        }
        running = [called(each["url"], "pid") for each in (first, second)]
        wait_until(lambda: [row["state"] for row in listed()] == ["ready", "ready"])
        answers: list[Any] = []
        call = threading.Thread(
            target=lambda: answers.append(called(first["url"], "sleep", 2.0)), daemon=True
        )
        call.start()
        wait_until(lambda: 1 in [row["calls"] for row in listed()])
        deployed.process.send_signal(number)
        assert [each["event"] for each in deployed.end()] == ["stopping", "stopped", "stopped"]
        assert deployed.process.wait() == 0
        call.join(5)
        assert answers == [2.0]
        assert not any(group_of(pid) for pid in running)
        assert listed() == []


def test_second_ctrl_c_does_not_wait_for_what_runs(app: str) -> None:
    with Foreground(app) as deployed:
        ready = deployed.event()
        pid = called(ready["url"], "pid")
        os.kill(pid, signal.SIGSTOP)
        deployed.process.send_signal(signal.SIGINT)
        assert deployed.event()["event"] == "stopping"
        deployed.process.send_signal(signal.SIGINT)
        assert deployed.process.wait(10) == 0
        assert group_of(pid) == []


def test_replica_that_fails_is_named_with_its_cause_and_the_others_are_taken_down(
    tmp_path: Path, state: Path
) -> None:
    app = write_app(tmp_path, ONE_IS_WELL)
    done = modcore_command("deploy", f"{app}:module", "--name", "web", "--replicas", "2")
    assert done.returncode == 1
    assert "error: replica " in done.stderr and "there is room for one" in done.stderr
    assert (tmp_path / "taken").exists()
    assert listed() == []
    assert not list((state / "services").glob("*.json"))


def test_detached_service_is_listed_read_and_ended(app: str, state: Path) -> None:
    done = modcore_command("deploy", app, "--name", "web", "--replicas", "2", "--detach", "--json")
    assert done.returncode == 0, done.stderr
    assert [each["event"] for each in events(done.stdout.splitlines())] == [
        "ready",
        "ready",
        "deployed",
    ]
    found = listed()
    assert [(row["name"], row["replica"], row["state"]) for row in found] == [
        ("web", 0, "ready"),
        ("web", 1, "ready"),
    ]
    for row in found:
        assert called(row["url"], "pid") == row["pid"]
        called(row["url"], "say", f"I am replica {row['replica']}")
    wait_until(lambda: "replica 1" in modcore_command("logs", "web").stdout)
    told = modcore_command("logs", "web", "-n", "2").stdout.splitlines()
    assert [line.partition(":")[0] for line in told] == ["web-0", "web-1"]
    missing = modcore_command("logs", "web", "--replica", "7")
    assert missing.returncode == 1
    assert "No log of replica 7 of 'web' is on this machine; there are 0, 1." in missing.stderr
    only = modcore_command("logs", "web", "--replica", "1", "--json").stdout.splitlines()
    assert json.loads(only[-1])["line"].endswith("I am replica 1")
    table = modcore_command("ps").stdout.splitlines()
    assert table[0].split() == [
        *("name", "replica", "state", "url", "pid", "uptime", "restarts", "launcher", "calls")
    ]
    supervisor = supervisor_of(state, "web")
    stopped = modcore_command("stop", "web", "--json")
    assert (stopped.returncode, json.loads(stopped.stdout)["here"]) == (0, "stopped")
    assert not any(map(is_running, [supervisor, *pids(found)]))
    assert listed() == []


def test_detached_service_that_fails_leaves_its_cause_and_nothing_else(
    tmp_path: Path, state: Path
) -> None:
    app = write_app(tmp_path, "import no_such_package")
    done = modcore_command("deploy", f"{app}:module", "--name", "web", "--detach")
    assert done.returncode == 1
    assert "error: replica 0 of web could not be started" in done.stderr
    assert "No module named 'no_such_package'" in done.stderr
    assert not list((state / "services").glob("*.json"))


def test_name_that_runs_is_refused_and_replaced_on_demand(app: str) -> None:
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    [first] = listed()
    refused = modcore_command("deploy", app, "--name", "web", "--detach")
    assert refused.returncode == 1
    for part in ("'web' runs already", "modcore stop web", "--replace"):
        assert part in refused.stderr
    assert [row["pid"] for row in listed()] == [first["pid"]]
    done = modcore_command("deploy", app, "--name", "web", "--detach", "--replace")
    assert done.returncode == 0, done.stderr
    [second] = listed()
    assert second["pid"] != first["pid"] and not is_running(first["pid"])


def test_of_two_deployments_of_one_name_at_once_one_is_refused(app: str) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "modcore", "deploy", app, "--name", "web", "--detach"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outcomes = sorted((each.wait(60), each.stderr.read() if each.stderr else "") for each in both)
    assert [code for code, _ in outcomes] == [0, 1]
    assert "runs already" in outcomes[1][1]
    [row] = listed()
    assert row["state"] == "ready"


def test_killed_instance_comes_back_and_is_listed_where_it_is(app: str) -> None:
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    [before] = listed()
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: [row["restarts"] for row in listed() if row["state"] == "ready"] == [1])
    [after] = listed()
    assert called(after["url"], "pid") == after["pid"] != before["pid"]
    assert after["id"] == before["id"]
    assert "restart 1 of 5 in 0.2 s" in modcore_command("logs", "web").stdout


def test_killed_supervisor_takes_its_instances_with_it_and_its_name_is_free_again(
    app: str, state: Path
) -> None:
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    [before] = listed()
    os.kill(supervisor_of(state, "web"), signal.SIGKILL)
    wait_until(lambda: not group_of(before["pid"]), 2.0)
    [dead] = listed()
    assert (dead["state"], dead["url"], dead["pid"]) == ("dead", "", None)
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    [after] = listed()
    assert after["state"] == "ready"
    os.kill(supervisor_of(state, "web"), signal.SIGKILL)
    os.kill(after["pid"], signal.SIGKILL)
    wait_until(lambda: not group_of(after["pid"]), 2.0)
    stopped = modcore_command("stop", "web")
    assert (stopped.returncode, stopped.stdout) == (0, "web: dead already\n")
    assert listed() == []


def test_service_that_is_given_up_is_listed_as_failed(tmp_path: Path) -> None:
    app = f"{write_app(tmp_path)}:module"
    words = ("deploy", app, "--name", "web", "--detach", "--restarts", "0")
    assert modcore_command(*words).returncode == 0
    [row] = listed()
    os.kill(row["pid"], signal.SIGKILL)
    wait_until(lambda: [row["state"] for row in listed()] == ["failed"])
    assert modcore_command("stop", "web").returncode == 0
    assert listed() == []


def test_stop_of_what_is_not_there_names_what_is_near(app: str) -> None:
    nothing = modcore_command("stop", "web")
    assert (nothing.returncode, "nothing is deployed" in nothing.stderr) == (1, True)
    assert modcore_command("deploy", app, "--name", "webservice", "--detach").returncode == 0
    for command in ("stop", "logs"):
        done = modcore_command(command, "webservce")
        assert done.returncode == 1
        assert "did you mean 'webservice'?" in done.stderr


def test_logs_are_followed_across_lines_that_come(app: str) -> None:
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    [row] = listed()
    called(row["url"], "say", "before")
    wait_until(lambda: "before" in modcore_command("logs", "web").stdout)
    reader = subprocess.Popen(
        [sys.executable, "-m", "modcore", "logs", "web", "-f", "-n", "1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout
        assert "before" in reader.stdout.readline()
        called(row["url"], "say", "after")
        assert "after" in reader.stdout.readline()
    finally:
        reader.send_signal(signal.SIGINT)
        reader.communicate(timeout=10)


def test_log_says_where_a_call_failed_that_its_caller_learns_less_of(app: str) -> None:
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    [row] = listed()
    with pytest.raises(TypeError) as caught:
        called(row["url"], "greet", *range(3))
    assert "app.py" not in "".join(getattr(caught.value, "__notes__", []))
    wait_until(lambda: "getattr(self, what)(*args)" in modcore_command("logs", "web").stdout)


def test_nobody_else_can_read_a_detached_services_secrets(app: str, state: Path) -> None:
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    [row] = listed()
    for pid in (supervisor_of(state, "web"), row["pid"]):
        for part in ("cmdline", "environ"):
            assert b"key of the tests" not in Path(f"/proc/{pid}/{part}").read_bytes()
    assert "key of the tests" not in (state / "services" / "web.json").read_text()
    for path in state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.py:module",), "is not there"),
        (("app.py",), "a colon and a name"),
        (("{app}", "--name", "a/b"), "--name: 'a/b' cannot be a service's name"),
        (("{app}", "--replicas", "0"), "--replicas: 0 is not between 1 and 256"),
        (("{app}", "--replicas", "many"), "invalid int value"),
        (("{app}", "--args", "{"), "--args: it is no JSON"),
        (("{app}", "--args", "3"), "--args: 3 is neither an object"),
        (("{app}", "--memory", "much"), "--memory: 'much' is no size"),
        (("{app}", "--cpus", "nan"), "--cpus: nan is not between"),
        (("{app}", "--ready-timeout", "-1"), "--ready-timeout: -1.0 is not between"),
        (("{app}", "--gateway", "nonsense"), "has no scheme"),
        (
            ("{app}", "--gateway", "sqlite:///x.db", "--api-key", "k"),
            "answer to the cluster's token",
        ),
        (("{app}", "--api-key", " "), "--api-key: the key has to be printable"),
        (
            ("{app}", "--gateway", "memory://"),
            "--gateway: A gateway in memory:// is seen by this process alone",
        ),
        (("{app}", "--gateway", "sqlit:///x.db"), "did you mean sqlite://"),
        (("{app}", "--launcher", "lokal"), "'lokal' in modcore.launchers; did you mean 'local'"),
        (("{app}", "--detach", "--launcher", "lokal"), "did you mean 'local'"),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_what_is_wrong(
    app: str, words: tuple[str, ...], message: str
) -> None:
    done = modcore_command("deploy", *(word.replace("{app}", app) for word in words))
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr


@pytest.mark.parametrize(
    "command", [("deploy", "{app}"), ("ps",), ("stop", "web"), ("logs", "web")]
)
def test_state_directory_that_cannot_be_used_is_named(
    app: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    place = {"MODCORE_STATE_DIR": str(tmp_path / "file")}
    done = modcore_command(*(word.replace("{app}", app) for word in command), environment=place)
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr and "MODCORE_STATE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_program_whose_state_directory_cannot_be_used_has_its_services_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MODCORE_STATE_DIR", str(tmp_path / "file"))
    served = modcore.ServerModule(modcore.pipeline(str), "worker").start()
    try:
        assert served(1) == "1"
    finally:
        served.stop()
    assert "worker: its output is not kept" in capfd.readouterr().err


@pytest.mark.parametrize("word", ["../web", "a/b", "..", "", "\N{PILE OF POO}"])
@pytest.mark.parametrize("command", ["stop", "logs"])
def test_name_that_is_no_services_name_is_refused(command: str, word: str) -> None:
    done = modcore_command(command, word)
    assert done.returncode == 1
    assert "cannot be a service's name" in done.stderr


def test_ps_loads_nothing_heavy(app: str) -> None:
    code = (
        "import sys; from modcore.cli import main; assert main(['ps']) == 0;"
        "heavy = {'torch', 'fastapi', 'uvicorn', 'numpy', 'pydantic', 'aiohttp'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    assert modcore_command("deploy", app, "--name", "web", "--detach").returncode == 0
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["supervise", "serve-module"])
def test_internal_command_typed_by_a_person_says_what_it_is_for(command: str) -> None:
    done = modcore_command(command)
    assert done.returncode == 2
    assert "modcore deploy" in done.stderr


def test_detached_service_that_is_stopped_before_it_is_ready_says_so(tmp_path: Path) -> None:
    app = f"{write_app(tmp_path, SLOW_TO_LOAD)}:module"
    with PythonProcess(["-m", "modcore", "deploy", app, "--name", "web", "--detach"]) as starting:
        wait_until(lambda: [row for row in listed() if row["state"] == "starting"], 30)
        assert modcore_command("stop", "web").returncode == 0
        assert starting.process.wait(30) == 1
        wait_until(lambda: starting.errors, 10)
        assert "somebody has stopped the service before it was ready" in starting.errors[0]
