"""Records of what is deployed: true, private, and never a reason to kill the wrong process."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modcore.deploy.process_identity import ProcessIdentity
from modcore.deploy.service_records import (
    InstanceRecord,
    ServiceRecord,
    claim,
    forget,
    forget_dead,
    read_record,
    read_records,
)
from modcore.deploy.stopping import stop_local
from modcore.errors import ServiceError
from modcore.state_directory import write_private


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODCORE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def record(name: str = "web", supervisor: ProcessIdentity | None = None) -> ServiceRecord:
    return ServiceRecord(
        name=name,
        entry="/app.py:module",
        launcher="local",
        gateway="",
        supervisor=supervisor or ours(),
        started=1.5,
        is_detached=True,
        instances=(InstanceRecord(replica=0, id="a"), InstanceRecord(replica=1, id="b")),
    )


def ours() -> ProcessIdentity:
    found = ProcessIdentity.of(os.getpid())
    assert found is not None
    return found


def test_record_is_read_as_it_was_written_and_is_this_users_alone(state: Path) -> None:
    record().write()
    assert read_record("web") == record()
    assert read_records() == [record()]
    assert stat.S_IMODE((state / "services" / "web.json").stat().st_mode) == 0o600
    forget("web")
    assert read_records() == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"name": "web"}', "\x00", '{"supervisor": 3, "instances": []}'],
)
def test_file_that_is_no_record_is_no_record(state: Path, content: str) -> None:
    record("other").write()
    (state / "services" / "web.json").write_text(content)
    assert read_record("web") is None
    assert read_records() == [record("other")]


@pytest.mark.parametrize("name", ["../web", "a/b", "", ".", "..", ".hidden", "a\0", "ü", "x" * 129])
def test_name_that_is_no_services_name_touches_no_file(name: str) -> None:
    for use in (read_record, forget, forget_dead, lambda name: claim(name).__enter__()):
        with pytest.raises(ServiceError, match="cannot be a service's name"):
            use(name)


def test_process_is_told_from_a_later_one_with_the_same_id() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity is not None and identity.is_alive
        earlier = replace(identity, started="long ago")
        assert not earlier.is_alive
        assert not earlier.send(signal.SIGKILL)
        assert process.poll() is None
        assert identity.send(signal.SIGKILL)
        process.wait()
        assert not identity.is_alive
        assert not identity.send(signal.SIGKILL)
    assert ProcessIdentity.of(2**22 + 1) is None


def test_stop_of_a_service_whose_supervisors_id_is_another_process_by_now_kills_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record(supervisor=ProcessIdentity(process.pid, "long ago")).write()
        assert stop_local("web", 5.0) == "dead already"
        assert process.poll() is None
        assert read_record("web") is None
        process.kill()


def test_one_process_has_a_claim_and_another_is_told_who(state: Path) -> None:
    hold = "import sys; from modcore.deploy.service_records import claim\nwith claim('web'): print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline()
        identity = ProcessIdentity.of(process.pid)
        record(supervisor=identity).write()
        with pytest.raises(ServiceError, match=f"'web' runs already .process {process.pid}"):
            claim("web").__enter__()
        forget_dead("web")
        assert read_record("web") is not None
        process.kill()
        process.wait()
        forget_dead("web")
        assert read_record("web") is None
        with claim("web"):
            pass


def test_file_that_cannot_be_written_is_named_and_nothing_is_left(state: Path) -> None:
    record().write()
    services = state / "services"
    (services / "web.json").unlink()
    (services / "web.json").mkdir()
    with pytest.raises(ServiceError, match=r"web\.json cannot be written"):
        record().write()
    assert [path.name for path in services.iterdir()] == ["web.json"]
    with pytest.raises(ServiceError, match="cannot be written"):
        write_private(state / "nowhere" / "file", "x")


def test_what_cannot_be_forgotten_is_named(state: Path) -> None:
    (state / "services").mkdir(parents=True, mode=0o700)
    (state / "services" / "web.json").mkdir()
    with pytest.raises(ServiceError, match=r"web\.json cannot be removed .* move away"):
        forget("web")


def test_record_holds_no_secret() -> None:
    assert not {"token", "cluster_key"} & set(json.dumps(record().to_json()).split('"'))
