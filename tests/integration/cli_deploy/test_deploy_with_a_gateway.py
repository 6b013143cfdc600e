"""The same commands where services meet: what runs elsewhere is listed, read and ended too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployed import group_of, modcore_command, rows, write_app
from gateways import OTHER_KEY, instance
from modcore.gateway import ClusterKey, connect
from modcore.gateway.instance import read_entry
from modcore.module.remote import RemoteModule
from processes import is_running
from waiting import wait_until

SECRET = "the secret of this cluster"


class Machine:
    """Somebody's machine: a state directory of its own."""

    def __init__(self, directory: Path, gateway: str) -> None:
        self.state = directory
        self._environment = {
            "MODCORE_STATE_DIR": str(directory),
            "MODCORE_GATEWAY": gateway,
            "MODCORE_CLUSTER_KEY": SECRET,
            "MODCORE_GATEWAY_TTL": "2",
        }

    def __call__(self, *words: str) -> str:
        done = modcore_command(*words, environment=self._environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *words: str) -> str:
        done = modcore_command(*words, environment=self._environment)
        assert done.returncode == 1
        return done.stderr

    def listed(self) -> list[dict[str, Any]]:
        return rows(self("ps", "--json"))

    def supervisor(self, name: str) -> int:
        record = json.loads((self.state / "services" / f"{name}.json").read_text())
        pid: int = record["supervisor"]["pid"]
        return pid

    def end(self) -> None:
        for record in (self.state / "services").glob("*.json"):
            with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
                os.kill(json.loads(record.read_text())["supervisor"]["pid"], signal.SIGKILL)


@pytest.fixture
def gateway(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'services.db'}"


@pytest.fixture
def here(tmp_path: Path, gateway: str) -> Iterator[Machine]:
    machine = Machine(tmp_path / "here", gateway)
    yield machine
    machine.end()


@pytest.fixture
def there(tmp_path: Path, gateway: str) -> Iterator[Machine]:
    machine = Machine(tmp_path / "there", gateway)
    yield machine
    machine.end()


@pytest.fixture
def app(tmp_path: Path) -> str:
    return f"{write_app(tmp_path)}:module"


def test_service_is_registered_and_listed_with_what_each_side_knows(
    app: str, here: Machine, there: Machine, gateway: str
) -> None:
    words = ("--name", "web", "--detach", "--replicas", "2", "--capacity", "7", "--idempotent")
    here("deploy", app, *words)
    own = here.listed()
    assert [(row["replica"], row["state"], row["calls"]) for row in own] == [
        (0, "ready", 0),
        (1, "ready", 0),
    ]
    assert all(row["pid"] and row["is_ours"] for row in own)
    others = there.listed()
    assert {row["id"]: row["url"] for row in others} == {row["id"]: row["url"] for row in own}
    assert not any(row["pid"] or row["is_ours"] for row in others)
    assert [row["calls"] for row in others] == [0, 0]
    for entry in connect(gateway).resolve("web"):
        found = read_entry(entry, ClusterKey(SECRET))
        assert (found.capacity, found.idempotent, found.launcher) == (7, True, "local")


def test_killed_instance_is_registered_again_as_the_one_it_was(app: str, here: Machine) -> None:
    here("deploy", app, "--name", "web", "--detach")
    [before] = here.listed()
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: [row["restarts"] for row in here.listed() if row["state"] == "ready"] == [1])
    [after] = here.listed()
    assert (after["id"], after["url"] != before["url"]) == (before["id"], True)


def test_logs_and_end_of_what_runs_elsewhere_go_over_http(
    app: str, here: Machine, there: Machine
) -> None:
    there("deploy", app, "--name", "web", "--detach", "--replicas", "2")
    running = there.listed()
    token = ClusterKey(SECRET).token
    for row in running:
        RemoteModule(row["url"], token).call(("say", f"this is {row['id']}"), {})
    wait_until(lambda: all(f"this is {row['id']}" in here("logs", "web") for row in running))
    supervisor = there.supervisor("web")
    told = json.loads(here("stop", "web", "--json"))
    assert told["here"] is None
    assert told["elsewhere"] == {row["url"]: "stopped" for row in running}
    wait_until(lambda: not is_running(supervisor))
    assert not any(group_of(row["pid"]) for row in running)
    assert here.listed() == there.listed() == []
    assert "nothing is deployed" in here.fails("stop", "web")


def test_documents_that_are_not_signed_are_not_listed_and_nothing_is_sent_there(
    app: str, here: Machine, gateway: str
) -> None:
    store = connect(gateway)
    store.register(instance("web", 1).entry(OTHER_KEY), 60)
    far = instance("web", 2, url="http://192.0.2.1:80")
    store.register(far.entry(ClusterKey(SECRET)), 60)
    assert here.listed() == []
    assert "There is no service 'web'" in here.fails("stop", "web")
    assert "There is no service 'web'" in here.fails("logs", "web")


def test_own_services_are_listed_and_ended_though_the_store_is_away(
    app: str, here: Machine, tmp_path: Path
) -> None:
    here("deploy", app, "--name", "web", "--detach")
    [row] = here.listed()
    away = ("--gateway", "redis://user:pa55word@127.0.0.1:9/0")
    listed = modcore_command("ps", *away, "--json", environment=here._environment)
    assert listed.returncode == 0
    assert [each["pid"] for each in rows(listed.stdout)] == [row["pid"]]
    assert "warning: only this machine's own services" in listed.stderr
    stopped = modcore_command("stop", "web", *away, environment=here._environment)
    assert (stopped.returncode, is_running(row["pid"])) == (0, False)
    assert "pa55word" not in listed.stderr + stopped.stderr


def test_service_starts_though_the_store_is_away_and_its_password_is_nowhere(
    app: str, here: Machine
) -> None:
    here._environment["MODCORE_GATEWAY"] = "redis://user:pa55word@127.0.0.1:9/0"
    here("deploy", app, "--name", "web", "--detach")
    record = json.loads((here.state / "services" / "web.json").read_text())
    assert record["gateway"] == "redis://127.0.0.1:9/0"
    for pid in (record["supervisor"]["pid"], record["instances"][0]["pid"]):
        for part in ("cmdline", "environ"):
            content = Path(f"/proc/{pid}/{part}").read_bytes()
            assert b"pa55word" not in content and SECRET.encode() not in content
    for path in here.state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"pa55word" not in content and SECRET.encode() not in content


def test_gateway_without_a_key_is_refused_with_what_to_set(app: str, here: Machine) -> None:
    here._environment["MODCORE_GATEWAY"] = "redis://127.0.0.1:9/0"
    here._environment["MODCORE_CLUSTER_KEY"] = "short"
    for words in (("ps",), ("deploy", app), ("deploy", app, "--detach")):
        assert "The cluster key has 5 characters" in here.fails(*words)
