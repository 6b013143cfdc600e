"""What of the Ray launcher needs no Ray: what is refused, what is asked for, what a shortage is told as."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import modcore
from modcore.deploy.handover import Handover
from modcore.errors import InvalidRequest, ServiceError
from modcore.plugins import PluginManager, ServiceSpec
from modcore.plugins.records import Resources
from modcore_ray.actor import on_node
from modcore_ray.existing_ray import verify_address_guarded
from modcore_ray.launcher import RayLauncher, placed, verify_importable
from modcore_ray.listening import is_loopback, verify_reachable
from modcore_ray.placement import actor_options, placement_timeout, shortage

GIB = 2**30


def spec(**options: object) -> ServiceSpec:
    command = ("serve-module", "--entry", "app:module", "--name", "poet")
    return ServiceSpec(**{"name": "poet", "command": command, **options})  # type: ignore[arg-type]


def test_launcher_is_found_under_its_id() -> None:
    assert PluginManager().resolve("modcore.launchers", "ray") is RayLauncher


def test_finding_the_launcher_imports_no_ray() -> None:
    code = "import sys, modcore_ray.launcher; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_pickled_module_is_refused_with_the_way_out() -> None:
    payload = Handover(token="t" * 32, module=b"\x80\x05pickled").to_bytes()
    with pytest.raises(ServiceError, match=r"poet.*modcore deploy app\.py:module --launcher ray"):
        RayLauncher(secret_payload=payload).launch(spec())


def test_server_module_that_would_be_pickled_is_refused_so() -> None:
    with pytest.raises(ServiceError, match="nothing pickled is sent over a network"):
        modcore.ServerModule(lambda text: text, launcher="ray").start()


def test_ray_that_others_reach_gets_no_secrets_without_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    verify_address_guarded("127.0.0.1:6379")
    verify_address_guarded("[::1]:6379")
    with pytest.raises(ServiceError, match=r"10\.0\.0\.1:6379.*RAY_AUTH_MODE=token"):
        verify_address_guarded("10.0.0.1:6379")
    monkeypatch.setenv("MODCORE_INSECURE_RAY", "1")
    verify_address_guarded("10.0.0.1:6379")


def test_handover_without_a_module_and_none_at_all_are_taken() -> None:
    verify_importable(spec(), Handover(token="t" * 32).to_bytes())
    verify_importable(spec(), None)


def test_bytes_that_are_no_handover_are_refused_and_not_shown() -> None:
    with pytest.raises(ServiceError, match="no handover") as caught:
        verify_importable(spec(), b"secret")
    assert "secret" not in str(caught.value)


def test_options_name_the_actor_and_carry_resources_and_restarts() -> None:
    resources = Resources(cpus=2.0, gpus=0.5, memory=GIB)
    options = actor_options(spec(replica=3, restarts=-1, resources=resources))
    assert options["name"] == "modcore:poet:3"
    assert (options["namespace"], options["lifetime"]) == ("modcore", "detached")
    assert (options["num_cpus"], options["num_gpus"], options["memory"]) == (2.0, 0.5, GIB)
    assert options["max_restarts"] == -1
    assert "runtime_env" not in options


def test_service_on_a_node_says_who_placed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODCORE_ALLOWED_NETWORKS", "10.0.0.0/8")
    there = placed(spec(environment={"A": "b"}))
    assert there.command[-2:] == ("--launcher", "ray")
    assert there.environment == {"A": "b", "MODCORE_ALLOWED_NETWORKS": "10.0.0.0/8"}
    assert placed(there) == there
    assert json.loads(json.dumps(there.to_json())) == there.to_json()


@pytest.mark.parametrize(
    ("node", "networks", "hosts"),
    [
        ("127.0.0.1", "10.0.0.0/8", ()),
        ("10.1.2.3", "10.0.0.0/8", ("--host", "10.1.2.3")),
        ("10.1.2.3", "", ()),
        ("192.168.0.1", "10.0.0.0/8", ()),
        ("fd00::1", "fd00::/8", ("--host", "fd00::1")),
    ],
)
def test_service_listens_on_its_node_s_address_only_where_that_is_allowed(
    node: str, networks: str, hosts: tuple[str, ...]
) -> None:
    there = on_node(spec(environment={"MODCORE_ALLOWED_NETWORKS": networks}), node)
    assert there.command == spec().command + hosts


def test_service_that_only_its_own_node_reaches_is_told_what_is_missing() -> None:
    verify_reachable("poet", "http://127.0.0.1:80", "127.0.0.1", "127.0.0.1")
    verify_reachable("poet", "http://10.0.0.7:80", "10.0.0.7", "10.0.0.1")
    with pytest.raises(ServiceError, match=r"MODCORE_ALLOWED_NETWORKS.*10\.0\.0\.0/24"):
        verify_reachable("poet", "http://127.0.0.1:80", "10.0.0.7", "10.0.0.1")


def test_restarts_without_end_are_so_on_the_node_too() -> None:
    assert on_node(spec(restarts=-1), "127.0.0.1").restarts > 10**9
    assert on_node(spec(restarts=2), "127.0.0.1").restarts == 2


def test_shortage_that_no_node_could_end_says_what_there_is() -> None:
    asked = spec(resources=Resources(cpus=64, gpus=2))
    nodes = [{"CPU": 8.0, "memory": 16.0 * GIB}, {"CPU": 4.0, "GPU": 1.0}]
    told = shortage(asked, nodes, {"CPU": 8.0}, 30.0)
    assert "poet asks for 64 CPUs, 2 GPUs, and no node of Ray has that" in told
    assert "8 CPUs, 0 GPUs, 16.0 GiB of memory; 4 CPUs, 1 GPUs" in told


def test_shortage_that_may_end_says_what_is_free() -> None:
    told = shortage(spec(resources=Resources(cpus=4)), [{"CPU": 8.0}], {"CPU": 1.5}, 30.0)
    assert "not free within 30 s" in told and "free of it: 1.5 CPUs" in told


def test_placement_timeout_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert placement_timeout() == 30.0
    for wrong in ("soon", "-1", "nan"):
        monkeypatch.setenv("MODCORE_RAY_PLACEMENT_TIMEOUT", wrong)
        with pytest.raises(InvalidRequest, match=wrong):
            placement_timeout()


def test_loopback_addresses_are_told_from_others() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "example.org", ""]))
