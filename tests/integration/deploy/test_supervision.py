"""A service that dies comes back, so often and no more; one that never was ready says why."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import modcore
from deployed import TOKEN, entry_spec, group_of, launch, write_app
from modcore.deploy import supervision
from modcore.deploy.child import Child
from modcore.deploy.handover import Handover
from modcore.deploy.log_files import last_lines, log_path
from modcore.errors import ServiceError
from modcore.plugins import Service, plugin_manager
from processes import children_of, command_of, is_running
from waiting import wait_until


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path)


def call(service: Service, *args: object) -> object:
    return modcore.UrlModule(service.url, token=TOKEN)(*args)


def test_killed_service_comes_back_at_another_url(app: Path) -> None:
    service = launch(entry_spec(app, restarts=3))
    try:
        first = service.url
        pid = call(service, "pid")
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: service.url not in ("", first))
        assert call(service, "pid") != pid
        assert (service.poll(), service.restarts) == (None, 1)
    finally:
        assert service.stop() == 0


def test_service_without_restarts_ends_with_its_process(app: Path) -> None:
    service = launch(entry_spec(app))
    with pytest.raises(ServiceError):
        call(service, "leave", 3)
    assert service.wait() == 3
    assert (service.poll(), service.url) == (3, "")


def test_exit_code_0_is_wanted_and_nothing_is_started_again(app: Path) -> None:
    service = launch(entry_spec(app, restarts=3))
    os.kill(service.pid, signal.SIGTERM)
    assert service.wait() == 0
    assert service.restarts == 0


def test_service_that_fails_again_and_again_is_given_up(tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    app = write_app(
        tmp_path,
        f"""
import os, pathlib, threading
marker = pathlib.Path({str(marker)!r})
if marker.exists():
    raise RuntimeError("not again")
marker.touch()
def module(): os._exit(4)
""",
    )
    service = launch(entry_spec(app, restarts=2))
    started = time.monotonic()
    with pytest.raises(ServiceError):
        call(service)
    assert service.wait() == 1
    assert service.restarts == 2
    assert time.monotonic() - started >= 0.2 + 0.4  # the pauses


def test_service_that_has_run_for_a_while_may_fail_as_often_as_at_first(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STEADY_SECONDS", 0.0)
    service = launch(entry_spec(app, restarts=1))
    try:
        for restart in range(3):
            os.kill(service.pid, signal.SIGKILL)
            wait_until(lambda restart=restart: service.restarts > restart and service.url)
    finally:
        service.stop()


@pytest.mark.parametrize("has_log", [True, False])
def test_secrets_are_in_no_error_and_on_no_screen_either(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], has_log: bool
) -> None:
    name = f"leaky-{has_log}"
    if not has_log:
        log_path(name, 0).mkdir()
    app = write_app(tmp_path, f"raise RuntimeError('it is ' + {TOKEN[:3]!r} + {TOKEN[3:]!r})")
    with pytest.raises(ServiceError, match=r"it is \(secret\)") as caught:
        launch(entry_spec(app, name=name))
    assert TOKEN not in str(caught.value)
    assert TOKEN not in capfd.readouterr().err


def test_what_a_service_says_is_in_its_log_file_and_behind_its_name_on_our_stderr(
    app: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    service = launch(entry_spec(app, name="speaker", replica=3))
    try:
        assert call(service, "say", f"one\ntwo {TOKEN}") is None
        wait_until(lambda: "two" in "".join(last_lines(log_path("speaker", 3), 9)))
        assert call(service, "environment")["MODCORE_LOG_FILE"] == str(log_path("speaker", 3))
    finally:
        service.stop()
    told = [line.partition(" ")[2] for line in last_lines(log_path("speaker", 3), 9)]
    assert told == ["one", "two (secret)"]
    assert "speaker: one\nspeaker: two (secret)\n" in capfd.readouterr().err


def test_stop_while_it_waits_to_be_started_again_ends_at_once(app: Path) -> None:
    service = launch(entry_spec(app, restarts=9))
    for restart in range(4):  # the next pause is 3.2 s long
        os.kill(service.pid, signal.SIGKILL)
        wait_until(lambda restart=restart: service.restarts > restart and service.url)
    os.kill(service.pid, signal.SIGKILL)
    wait_until(lambda: not service.url)
    started = time.monotonic()
    assert service.stop() == -signal.SIGKILL
    assert time.monotonic() - started < 1


def test_child_whose_import_fails_has_its_cause_in_the_error_at_once(tmp_path: Path) -> None:
    failed_at = tmp_path / "failed at"
    app = write_app(
        tmp_path,
        f"""
import pathlib, time
pathlib.Path({str(failed_at)!r}).write_text(str(time.time()))
import no_such_package
""",
    )
    with pytest.raises(
        ServiceError, match=r"No module named 'no_such_package' \(.*app.py, line 4\)"
    ):
        launch(entry_spec(app, restarts=5))
    assert time.time() - float(failed_at.read_text()) < 1


def test_child_that_leaves_a_process_behind_with_its_pipes_fails_at_once_all_the_same(
    tmp_path: Path,
) -> None:
    app = write_app(
        tmp_path,
        """
import subprocess, sys
print("left", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
raise LookupError("no weights")
""",
    )
    started = time.monotonic()
    with pytest.raises(ServiceError, match="no weights") as caught:
        launch(entry_spec(app))
    assert time.monotonic() - started < 30
    left = int(str(caught.value).partition("left ")[2].split()[0])
    wait_until(lambda: not is_running(left), 5)


def test_service_that_is_not_ready_in_time_is_killed(tmp_path: Path) -> None:
    app = write_app(tmp_path, "import time, os\nprint('pid', os.getpid())\ntime.sleep(600)\n")
    with pytest.raises(ServiceError, match="not ready within 6 s; it said: pid") as caught:
        launch(entry_spec(app, ready_timeout=6.0))
    pid = int(str(caught.value).rpartition("pid ")[2].split()[0])
    wait_until(lambda: not group_of(pid), 5)


def test_stop_kills_what_does_not_drain_in_time_and_all_that_it_started(app: Path) -> None:
    service = launch(entry_spec(app))
    grandchild = call(service, "child")
    assert isinstance(grandchild, int)
    os.kill(service.pid, signal.SIGSTOP)
    assert service.stop(timeout=0.2) == -signal.SIGKILL
    wait_until(lambda: not is_running(grandchild) and not group_of(service.pid), 5)


def test_services_are_launched_from_several_threads_at_once(app: Path) -> None:
    services: list[Service] = []
    threads = [
        threading.Thread(
            target=lambda number=number: services.append(
                launch(entry_spec(app, name=f"worker{number}"))
            )
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({call(service, "pid") for service in services}) == 4
    assert [service.stop() for service in services] == [0] * 4


@pytest.mark.parametrize("key", ["MODCORE_CLUSTER_KEY", "MODCORE_API_KEY", "MODCORE_GATEWAY"])
def test_secrets_of_ours_are_not_in_the_childs_environment(
    app: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(key, "do not tell anybody")
    service = launch(entry_spec(app))
    try:
        assert "do not tell anybody" not in str(call(service, "environment"))
        for part in ("environ", "cmdline"):
            assert b"tell anybody" not in Path(f"/proc/{service.pid}/{part}").read_bytes()
            assert TOKEN.encode() not in Path(f"/proc/{service.pid}/{part}").read_bytes()
    finally:
        service.stop()


@pytest.mark.parametrize("content", [b"", b"\x80", b"{}x\n", b'{"a": 1}\n', b"[" * 100_000])
def test_payload_that_is_no_handover_is_refused_and_not_shown(app: Path, content: bytes) -> None:
    options = {"secret_payload": content}
    with pytest.raises(ServiceError, match="nobody can read") as caught:
        plugin_manager().deploy(entry_spec(app), options)
    assert "internal error" not in str(caught.value)


def test_launcher_that_hands_over_no_token_is_refused(app: Path) -> None:
    with pytest.raises(ServiceError, match="no token"):
        launch(entry_spec(app), Handover())


@pytest.mark.parametrize(
    ("attribute", "words", "args", "answer"),
    [
        ("function", (), (1,), 2),
        ("Worker", (), ("greet", "you"), "hello you"),
        ("Worker", ("--args", '{"greeting": "hi"}'), ("greet", "you"), "hi you"),
        ("maker", ("--args", '["hey"]'), ("greet", "you"), "hey you"),
    ],
)
def test_entry_may_be_a_function_a_class_or_a_maker(
    app: Path, attribute: str, words: tuple[str, ...], args: tuple[object, ...], answer: object
) -> None:
    service = launch(entry_spec(app, attribute, words=words))
    try:
        assert call(service, *args) == answer
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("attribute", "words", "message"),
    [
        ("number", (), r"app.py:number is an int \(3\), which cannot be served"),
        ("modul", (), "there is no 'modul'; did you mean 'module'?"),
        ("maker", ("--args", "{}"), "missing a required argument: 'greeting'"),
        ("Worker", ("--args", '{"greting": 1}'), "unexpected keyword argument 'greting'"),
        ("number", ("--args", "[]"), "takes no --args"),
        ("module", ("--args", "3"), "neither an object"),
        ("module", ("--args", "{"), "no JSON"),
    ],
)
def test_entry_that_cannot_be_served_says_why(
    app: Path, attribute: str, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ServiceError, match=message):
        launch(entry_spec(app, attribute, words=words))


def test_service_that_is_interrupted_while_it_begins_leaves_nothing(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("service "):
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch(entry_spec(app, restarts=3))
    assert not [pid for pid in children_of(os.getpid()) if "serve-module" in command_of(pid)]


def test_service_that_is_stopped_before_it_begins_never_does(app: Path) -> None:
    made: list[None] = []

    def make() -> Child:
        made.append(None)
        raise AssertionError

    closed = threading.Event()
    service = supervision.SupervisedService(entry_spec(app), make, print, closed.set)
    assert service.stop() == 0
    service.start()
    assert service.wait() == 0
    assert closed.is_set()
    assert not made
