"""Programs that place services with Ray, seen from outside: what they leave, what they take over, the command line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from modcore.plugins import PluginManager, ServiceSpec
from modcore.plugins.records import Resources
from waiting import wait_until

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from modcore.deploy.handover import Handover
from modcore.plugins import PluginManager, ServiceSpec
from modcore.plugins.records import Resources

spec = ServiceSpec(
    name="guest",
    command=("serve-module", "--entry", sys.argv[1], "--name", "guest"),
    launcher="ray",
    resources=Resources(cpus=0.5),
    restarts=1,
)
service = PluginManager().deploy(spec, {"secret_payload": Handover(token="t" * 32).to_bytes()})
print(service.pid, flush=True)
if sys.argv[2:] == ["wait"]:
    print(service.wait(), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def program(
    entry: str, environment: dict[str, str], *words: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program that has placed a service, and the service's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, entry, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: one that nobody has asked for its exit code yet does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def same_ray(ray_session: None) -> dict[str, str]:
    """What leads another program to the Ray of the tests."""
    import ray

    from modcore_ray.connection import connection

    assert connection.place
    return {
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(connection.place / "token"),
    }


def test_program_that_ends_takes_its_services_from_a_ray_that_stays(
    app: Path, same_ray: dict[str, str]
) -> None:
    with program(f"{app}:shout", same_ray) as (process, pid):
        child = psutil.Process(pid)
        process.communicate()
        assert process.returncode == 0
        wait_until(lambda: not is_alive(child))


def test_service_whose_program_was_killed_stays_and_the_next_of_its_name_takes_its_place(
    app: Path, same_ray: dict[str, str]
) -> None:
    with program(f"{app}:shout", same_ray) as (process, pid):
        orphan = psutil.Process(pid)
        process.kill()
        process.wait()
        assert is_alive(orphan)
    words = ("serve-module", "--entry", f"{app}:shout", "--name", "guest")
    resources = Resources(cpus=0.5)
    spec = ServiceSpec(name="guest", command=words, launcher="ray", resources=resources)
    from modcore.deploy.handover import Handover

    payload = Handover(token="t" * 32).to_bytes()
    successor = PluginManager().deploy(spec, {"secret_payload": payload})
    assert successor.poll() is None
    wait_until(lambda: not is_alive(orphan))
    successor.stop()


def test_ray_of_its_own_ends_with_the_program_that_is_killed(app: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: nox -s ray")
    with program(f"{app}:shout", {"RAY_ADDRESS": ""}) as (process, pid):
        everything = [psutil.Process(pid), *psutil.Process(process.pid).children(recursive=True)]
        assert any("raylet" in each.name() for each in everything)
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(is_alive, everything)))


def test_service_has_ended_when_the_one_node_of_a_ray_of_its_own_is_dead(app: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: nox -s ray")
    with program(f"{app}:shout", {"RAY_ADDRESS": ""}, "wait") as (process, _):
        rays = psutil.Process(process.pid).children()
        next(each for each in rays if each.name() == "raylet").kill()
        assert process.stdout and int(process.stdout.readline()) == -9


def test_address_where_no_ray_answers_is_named(app: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: nox -s ray")
    for address, hint in {
        "127.0.0.1:1": "ray start --head",
        "ray://127.0.0.1:1": "host:6379",
    }.items():
        done = modcore("deploy", f"{app}:shout", "--launcher", "ray", RAY_ADDRESS=address)
        assert done.returncode == 1
        assert f"RAY_ADDRESS={address}" in done.stderr and hint in done.stderr


def test_deploy_ps_logs_stop(app: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: nox -s ray")
    ours = {
        "MODCORE_STATE_DIR": str(tmp_path / "state"),
        "MODCORE_GATEWAY": f"sqlite:///{tmp_path / 'services.db'}",
        "RAY_ADDRESS": "",
    }
    options = ("--launcher", "ray", "--cpus", "0.5", "--replicas", "2", "--detach", "--json")
    deployed = modcore("deploy", f"{app}:shout", *options, **ours)
    assert deployed.returncode == 0, deployed.stderr
    events = [json.loads(line)["event"] for line in deployed.stdout.splitlines()]
    assert events == ["ready", "ready", "deployed"]
    try:
        rows = json.loads(modcore("ps", "--json", **ours).stdout)["services"]
        assert [(row["name"], row["replica"], row["launcher"]) for row in rows] == [
            ("shout", 0, "ray"),
            ("shout", 1, "ray"),
        ]
        assert {row["state"] for row in rows} == {"ready"}
        assert call_by_name(ours) == "TYGER"
        children = [psutil.Process(row["pid"]) for row in rows]
        assert modcore("logs", "shout", **ours).returncode == 0
    finally:
        stopped = modcore("stop", "shout", **ours)
    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: not any(map(is_alive, children)))
    assert json.loads(modcore("ps", "--json", **ours).stdout) == {"services": []}


def call_by_name(environment: dict[str, str]) -> str:
    """What the service says to a program that knows its name and the gateway."""
    code = """
import os
from modcore import UrlModule
from modcore.gateway import shared_directory
from modcore.gateway.secret import cluster_key

directory = shared_directory(os.environ["MODCORE_GATEWAY"])
directory.wait_for("shout", timeout=10)
instances = directory.instances("shout")
assert {each.launcher for each in instances} == {"ray"} and len(instances) == 2, instances
token = cluster_key(os.environ["MODCORE_GATEWAY"]).token
print(UrlModule(instances[0].url, token=token)("tyger"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modcore(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modcore", *words],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **environment},
    )
