"""Services on a real local Ray: placed, called straight, killed, refused, ended."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import modcore
from modcore.deploy.handover import Handover
from modcore.errors import ServiceError
from modcore.plugins import PluginManager, ServiceSpec
from modcore.plugins.records import Resources
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

TOKEN = secrets.token_urlsafe(32)


def spec(app: Path, attribute: str = "shout", **options: Any) -> ServiceSpec:
    words = ("serve-module", "--entry", f"{app}:{attribute}", "--name", "poet")
    few = {"resources": Resources(cpus=0.5), "ready_timeout": 60.0}
    return ServiceSpec(**{"name": "poet", "command": words, "launcher": "ray", **few, **options})


@pytest.fixture
def deploy() -> Iterator[Callable[[ServiceSpec], Any]]:
    """Deploys what it is given, and ends it behind the test."""
    services: list[Any] = []

    def deployed(spec: ServiceSpec) -> Any:
        payload = Handover(token=TOKEN).to_bytes()
        services.append(PluginManager().deploy(spec, {"secret_payload": payload}))
        return services[-1]

    yield deployed
    for service in services:
        service.stop(2.0)


def call(service: Any, *args: Any) -> Any:
    return modcore.UrlModule(service.url, token=TOKEN)(*args)


def actor_process(service: Any) -> psutil.Process:
    """The process of the actor that has started the service's."""
    parent = psutil.Process(service.pid).parent()
    assert parent is not None
    return parent


def test_service_answers_at_its_url_until_it_is_stopped(app: Path, deploy: Any) -> None:
    import ray

    service = deploy(spec(app))
    assert call(service, "tyger") == "TYGER"
    assert service.poll() is None
    assert ray.get_actor("modcore:poet:0", namespace="modcore")
    assert any("shouting" in line for line in service.logs(10))
    child, actor = psutil.Process(service.pid), actor_process(service)

    assert service.stop() == 0
    assert (service.poll(), service.wait(), service.url) == (0, 0, "")
    assert service.stop() == 0
    wait_until(lambda: not child.is_running() and not actor.is_running())
    with pytest.raises(ValueError, match="poet"):
        ray.get_actor("modcore:poet:0", namespace="modcore")


def test_actor_that_is_killed_comes_back_and_its_service_with_it(app: Path, deploy: Any) -> None:
    service = deploy(spec(app, "where", restarts=-1))
    first, url = call(service)[0], service.url
    actor_process(service).kill()
    wait_until(lambda: service.url not in ("", url))
    assert call(service)[0] != first
    wait_until(lambda: not psutil.pid_exists(first))
    assert service.poll() is None and service.restarts == 1


def test_actor_that_may_not_come_back_is_told_as_ended(app: Path, deploy: Any) -> None:
    service = deploy(spec(app))
    actor_process(service).kill()
    assert service.wait() == -signal.SIGKILL
    assert service.url == ""


def test_process_that_is_killed_is_started_again_beside_its_actor(app: Path, deploy: Any) -> None:
    service = deploy(spec(app, restarts=1))
    actor, url = actor_process(service), service.url
    os.kill(service.pid, signal.SIGKILL)
    wait_until(lambda: service.url not in ("", url))
    assert call(service, "burning") == "BURNING"
    assert actor_process(service) == actor and service.restarts == 1


def test_service_that_is_told_over_http_to_end_has_ended_for_good(app: Path, deploy: Any) -> None:
    service = deploy(spec(app, restarts=-1))
    os.kill(service.pid, signal.SIGTERM)  # as POST /_modcore/stop does
    assert service.wait() == 0


def test_two_replicas_are_two_actors(app: Path, deploy: Any) -> None:
    services = [deploy(spec(app, "where", replica=replica)) for replica in (0, 1)]
    assert len({call(service)[0] for service in services}) == 2
    assert len({actor_process(service) for service in services}) == 2


def test_import_that_fails_says_its_cause_and_leaves_nothing(app: Path, deploy: Any) -> None:
    import ray

    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"LookupError: the weights are gone.*broken_app\.py"):
        deploy(spec(app.with_name("broken_app.py"), restarts=5))
    assert time.monotonic() - started < 30.0
    with pytest.raises(ValueError, match="poet"):
        ray.get_actor("modcore:poet:0", namespace="modcore")


def test_more_than_there_is_is_refused_at_once_with_what_there_is(app: Path, deploy: Any) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"asks for 4096 CPUs.*there is: \d+ CPUs"):
        deploy(spec(app, resources=Resources(cpus=4096)))
    assert time.monotonic() - started < 10.0


def test_what_is_not_free_is_waited_for_and_no_longer_than_said(
    app: Path, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    cores = ray.cluster_resources()["CPU"]
    deploy(spec(app))
    monkeypatch.setenv("MODCORE_RAY_PLACEMENT_TIMEOUT", "1")
    with pytest.raises(ServiceError, match=r"not free within 1 s.*end another service"):
        deploy(spec(app, replica=1, resources=Resources(cpus=cores)))
    wait_until(lambda: ray.available_resources().get("CPU") == cores - 0.5)


def test_name_that_is_taken_is_refused(app: Path, deploy: Any) -> None:
    service = deploy(spec(app))
    with pytest.raises(ServiceError, match="modcore stop poet"):
        deploy(spec(app))
    assert call(service, "bright") == "BRIGHT"


def test_ray_listens_on_loopback_and_keeps_no_secret_of_services(app: Path, deploy: Any) -> None:
    service = deploy(spec(app))
    ours = psutil.Process().children(recursive=True)
    places = {socket.laddr.ip for each in ours for socket in listening(each)}
    assert places <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert psutil.Process(service.pid) in ours
    assert not [each for each in ours if TOKEN in " ".join(each.cmdline())]
    assert not [each for each in ours if TOKEN in each.environ().values()]
    from modcore_ray.connection import connection

    place = connection.place
    assert place is not None and place.stat().st_mode & 0o077 == 0
    files = [file for file in place.rglob("*") if file.is_file() and not file.is_symlink()]
    assert files and not [file for file in files if TOKEN.encode() in file.read_bytes()]


def listening(process: psutil.Process) -> list[Any]:
    return [each for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
