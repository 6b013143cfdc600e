"""A module in a process of its own: called as if it were here."""

from __future__ import annotations

import asyncio
import contextvars
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import modcore
from modcore.errors import ServiceError
from modcore.module import RemoteError, time_left
from modcore.module.remote import DeadlineExceeded
from modcore.module.submodules import ModuleCycle
from processes import is_running
from served_modules import (
    Deploying,
    Known,
    Loading,
    NotLoading,
    Printer,
    Raiser,
    Sleeper,
    SlowToLoad,
    Worker,
)
from waiting import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[modcore.ServerModule]:
    module = modcore.ServerModule(Worker(), "worker").start()
    yield module
    module.stop()


def test_call_happens_in_another_process_and_answers_as_here(server: modcore.ServerModule) -> None:
    assert server("pid") != os.getpid()
    assert server("echo", 1, "ü", None, x=[{"y": 2.5}]) == [[1, "ü", None], {"x": [{"y": 2.5}]}]


def test_built_in_errors_arrive_as_themselves_with_the_remote_traceback(
    server: modcore.ServerModule,
) -> None:
    with pytest.raises(LookupError) as caught:
        server("fail", "gone")
    assert str(caught.value) == "gone"
    assert "in fail" in caught.value.__notes__[0]
    assert "starlette" not in caught.value.__notes__[0]
    assert "asyncio" not in caught.value.__notes__[0]


def test_other_errors_keep_their_name(server: modcore.ServerModule) -> None:
    with pytest.raises(RemoteError, match="Strange: oh") as caught:
        server("fail_strangely")
    assert caught.value.type_name == "Strange"


def test_group_of_errors_arrives_as_a_group_of_what_its_members_are(
    server: modcore.ServerModule,
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        server("fail_severally")
    value_error, inner = caught.value.exceptions
    assert (caught.value.message, repr(value_error)) == ("outer", "ValueError('a')")
    assert isinstance(inner, ExceptionGroup)
    assert [type(member) for member in inner.exceptions] == [LookupError, RemoteError]


def test_module_that_leaves_its_process_is_an_error_here_and_goes_on_there(
    server: modcore.ServerModule,
) -> None:
    with pytest.raises(RemoteError, match="SystemExit: 3"):
        server("leave")
    assert server("echo") == [[], {}]


def test_values_arrive_as_themselves(server: modcore.ServerModule) -> None:
    assert server("echo", (1, (2,)), {1: b"2"}) == [[(1, (2,)), {1: b"2"}], {}]


def test_call_that_takes_longer_than_its_limit_says_which_and_how_to_lengthen_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServiceError) as caught:
            modcore.UrlModule(url, timeout=0.1)("x")
    for part in (url, "within 0.1 s", "timeout="):
        assert part in str(caught.value)


def test_what_cannot_travel_is_refused_on_either_side(server: modcore.ServerModule) -> None:
    with pytest.raises(TypeError, match="cannot travel"):
        server("echo", object())
    with pytest.raises(TypeError, match="cannot travel"):
        server("lock")
    with pytest.raises(TypeError, match="would arrive as a str"):
        server("echo", type("Text", (str,), {})("x"))
    assert server("echo") == [[], {}]


def test_generator_without_stream_is_gathered(server: modcore.ServerModule) -> None:
    assert server("count", 3) == [0, 1, 2]


def test_threads_call_at_the_same_time(server: modcore.ServerModule) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: server("echo", i), range(64)))
    assert answers == [[[i], {}] for i in range(64)]


async def test_async_calls_answer(server: modcore.ServerModule) -> None:
    assert await server.acall("echo", 1) == [[1], {}]


class Waiting(modcore.ModuleBase):
    async def forward(self, seconds: float, number: int = 0) -> int:
        await asyncio.sleep(seconds)
        return number


@pytest.fixture(scope="module")
def waiting() -> Iterator[modcore.ServerModule]:
    module = modcore.ServerModule(Waiting(), deadline=30).start()
    yield module
    module.stop()


async def test_more_calls_at_once_than_a_service_takes_wait_for_a_place(
    waiting: modcore.ServerModule,
) -> None:
    calls = [waiting.acall(0.2, number) for number in range(400)]
    assert await asyncio.gather(*calls) == list(range(400))


def test_more_threads_than_a_service_takes_wait_for_a_place(waiting: modcore.ServerModule) -> None:
    with ThreadPoolExecutor(200) as pool:
        calls = [pool.submit(waiting, 0.2, number) for number in range(300)]
        assert [each.result() for each in calls] == list(range(300))


async def test_call_that_gets_no_place_in_its_time_says_so(waiting: modcore.ServerModule) -> None:
    others = [asyncio.ensure_future(waiting.acall(5)) for _ in range(128)]
    await asyncio.sleep(1)
    time_left.allow(0.3)
    with pytest.raises(
        DeadlineExceeded, match=r"no instance took the call within [\d.]+ s: .*\(busy\)"
    ):
        await waiting.acall(0)
    time_left.allow(None)
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert await waiting.acall(0, 7) == 7


def test_nobody_is_answered_without_the_token(server: modcore.ServerModule) -> None:
    request = urllib.request.Request(
        f"{server.url}/call", b"{}", {"content-type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)
    assert urllib.request.urlopen(f"{server.url}/health").status == 200


def test_secrets_stand_in_no_environment_and_no_command_line(server: modcore.ServerModule) -> None:
    inside = server("environment")
    assert "MODCORE_SERVICE_TOKEN" not in inside
    command = Path(f"/proc/{server('pid')}/cmdline").read_bytes()
    assert command.partition(b"serve-module\0")[2] == b"--name=worker\0--launcher\0local\0"


def test_pieces_are_streamed_as_they_are_made() -> None:
    module = modcore.ServerModule(Worker(), stream=True).start()
    try:
        start = time.monotonic()
        pieces = module("count", 3, pause=0.3)
        assert next(pieces) == 0
        assert time.monotonic() - start < 0.8
        assert list(pieces) == [1, 2]
        broken = module("count", 9)
        assert [next(broken) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="no more than 3"):
            next(broken)
        left = module("count", 3)
        next(left)
        left.close()
        assert list(module("count", 2)) == [0, 1]
    finally:
        module.stop()


def test_url_module_calls_a_service_that_runs_elsewhere(server: modcore.ServerModule) -> None:
    assert server.url
    other = modcore.UrlModule(server.url, token=server._token)
    assert other("echo", 5) == [[5], {}]
    with pytest.raises(ValueError, match="no http"):
        modcore.UrlModule("ftp://x")


async def test_url_module_is_awaited_without_a_thread(server: modcore.ServerModule) -> None:
    assert server.url
    other = modcore.UrlModule(server.url, token=server._token)
    before = threading.active_count()
    calls = [asyncio.ensure_future(other.acall("echo", number)) for number in range(20)]
    assert await asyncio.gather(*calls) == [[[number], {}] for number in range(20)]
    assert threading.active_count() == before
    streaming = modcore.UrlModule(server.url, token=server._token, stream=True)
    assert [piece async for piece in await streaming.acall("count", 3)] == [0, 1, 2]


def test_url_module_gives_a_call_no_more_than_is_left_of_the_one_it_belongs_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = modcore.UrlModule(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=60)

        def answering() -> None:
            time_left.allow(0.1)
            other("x")

        with pytest.raises(DeadlineExceeded, match=r"within 0\.\d+ s"):
            contextvars.copy_context().run(answering)


def test_url_may_be_https_with_a_certificate_that_this_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answering(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = json.dumps({"result": json.loads(body)["args"]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    service = http.server.HTTPServer(("127.0.0.1", 0), Answering)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    service.socket = context.wrap_socket(service.socket, server_side=True)
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    url = f"https://localhost:{service.server_port}"
    try:
        with pytest.raises(ServiceError, match="certificate verify failed"):
            modcore.UrlModule(url)(1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusting = modcore.UrlModule(url)
        assert trusting(1) == [1]
        trusting._remote.close()
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def test_flow_with_local_functions_is_served() -> None:
    offset = 10
    module = modcore.ServerModule(modcore.pipeline(lambda x: x + offset, str)).start()
    try:
        assert module(1) == "11"
    finally:
        module.stop()


def test_what_is_heavy_is_loaded_once_in_the_serving_process_before_it_is_ready() -> None:
    inner = Loading()
    module = modcore.ServerModule(modcore.pipeline(inner, str)).start()
    try:
        assert [module(), module()] == ["1", "1"]
        assert inner.loaded == 0
    finally:
        module.stop()


def test_setup_that_fails_is_told_with_its_cause() -> None:
    with pytest.raises(ServiceError, match="the weights are gone"):
        modcore.ServerModule(NotLoading()).start()


def test_what_a_server_holds_is_trained_and_evaluated_here_and_deployed_there() -> None:
    inner = Deploying()
    inner.evalset([{}])
    module = modcore.ServerModule(modcore.pipeline(inner, str))
    try:
        trained, deployed, answered = json.loads(module.update()())
    finally:
        module.stop()
    assert trained == os.getpid()
    assert deployed == answered != os.getpid()
    assert (inner.state.train, inner.state.deploy, inner.state.eval) == ("done", "never", "done")
    assert inner.eval_result == [[os.getpid(), 0, os.getpid()]]


def test_module_that_others_hold_too_is_deployed_here_as_well() -> None:
    inner = Deploying()
    server = modcore.ServerModule(inner)
    root = modcore.ActionModule(lambda: None)
    root.parts = [server, inner]
    try:
        root.start()
        assert inner()[1] == os.getpid() != server()[1]
    finally:
        root.stop()


def test_server_in_a_server_runs_beside_it_once() -> None:
    inner = modcore.ServerModule(Worker(), "inner")
    outer = modcore.ServerModule(modcore.pipeline(inner, lambda pid: [pid, os.getpid()]), "outer")
    try:
        there, outside = outer.update().update()("pid")
        assert there == inner("pid") != outside != os.getpid()
        assert inner.state.deploy == "done"
    finally:
        outer.stop()
    assert not is_running(there)


def test_server_that_holds_itself_is_refused_before_anything_starts() -> None:
    module = modcore.ServerModule(Worker())
    module.module.back = module
    with pytest.raises(ModuleCycle):
        module.start()
    assert module.url is None


def test_two_streams_of_one_thread_do_not_meet() -> None:
    module = modcore.ServerModule(Worker(), stream=True).start()
    try:
        assert list(zip(module("count", 3), module("count", 3), strict=True)) == [
            (0, 0),
            (1, 1),
            (2, 2),
        ]
    finally:
        module.stop()


def test_time_limit_around_a_remote_call_is_a_time_out_and_the_next_call_works() -> None:
    module = modcore.ServerModule(Sleeper()).start()
    try:
        module.evalset([2.0])
        with pytest.raises(TimeoutError, match="evaluating ServerModule"):
            module.eval(timeout=0.3)
        assert module(0.0) == 0.0
    finally:
        module.stop()


def test_interrupt_in_a_call_leaves_the_module_usable() -> None:
    module = modcore.ServerModule(Sleeper()).start()
    try:
        threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,)).start()
        with pytest.raises(KeyboardInterrupt):
            module(5.0)
        assert module(0.0) == 0.0
    finally:
        module.stop()


async def test_start_that_is_given_up_leaves_nothing_running() -> None:
    module = modcore.ServerModule(SlowToLoad())
    with pytest.raises(TimeoutError):
        await module.astart(timeout=1.0)
    for thread in threading.enumerate():
        if thread.name.startswith("deploying ServerModule"):
            thread.join(5)
            assert not thread.is_alive()
    assert module.url is None
    assert module.state.deploy == "failed"


def test_modules_that_call_others_can_be_sent(server: modcore.ServerModule) -> None:
    assert server.url
    url = modcore.UrlModule(server.url, token=server._token)
    outer = modcore.ServerModule(modcore.pipeline(url.use_cache())).start()
    try:
        assert outer("echo", 3) == [[3], {}]
    finally:
        outer.stop()


def test_what_a_module_prints_is_seen_and_mistaken_for_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    module = modcore.ServerModule(Printer(), "printer").start()
    try:
        assert module() == "printed"
    finally:
        module.stop()
    assert "printer: url: http://127.0.0.1:9/" in capfd.readouterr().err


def test_errors_of_a_module_that_both_sides_know_arrive_as_themselves() -> None:
    module = modcore.ServerModule(Raiser()).start()
    try:
        with pytest.raises((Known, RemoteError), match="it"):
            module()
    finally:
        module.stop()


def test_server_that_does_not_run_says_so() -> None:
    module = modcore.ServerModule(Worker(), "worker")
    with pytest.raises(ServiceError, match="worker is not running"):
        module("pid")
    module.start()
    module.stop()
    with pytest.raises(ServiceError, match="not running"):
        module("pid")


def test_updating_again_replaces_the_process() -> None:
    module = modcore.ServerModule(Worker()).update()
    first = module("pid")
    try:
        assert module.update()("pid") != first
        assert not is_running(first)
    finally:
        module.stop()


def test_killed_process_is_a_named_error_and_can_be_started_again() -> None:
    module = modcore.ServerModule(Worker(), restarts=0).start()
    os.kill(module("pid"), signal.SIGKILL)
    with pytest.raises(ServiceError, match="does not answer"):
        for _ in range(20):
            module("pid")
            time.sleep(0.05)
    try:
        assert module.start()("echo") == [[], {}]
    finally:
        module.stop()


def test_state_of_a_process_that_has_ended_is_the_truth_before_any_call() -> None:
    module = modcore.ServerModule(Worker(), "worker", restarts=0).start()
    assert module.state.deploy == "done"
    os.kill(module("pid"), signal.SIGKILL)
    wait_until(lambda: module.state.deploy != "done")
    assert module.state.deploy == "failed"
    assert "worker ended with exit code -9" in str(module.state.error)
    assert module.url is None
    with pytest.raises(ServiceError, match="worker is not running"):
        module("echo")


def test_what_cannot_be_sent_is_said_with_what_to_do() -> None:
    module = modcore.ServerModule(Worker())
    module.module.guard = threading.Lock()
    with pytest.raises(TypeError, match="a lock"):
        module.start()
    assert module.state.deploy == "failed"


PARENT = """
import sys, time
import modcore
class Slow(modcore.ModuleBase):
    def forward(self):
        import os
        return os.getpid()
server = modcore.ServerModule(Slow()).start()
print(server(), flush=True)
time.sleep(600)
"""


def test_process_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(child), 10, "the process ends with its parent")


def test_internal_command_typed_by_a_person_says_what_it_is_for() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modcore", "serve-module"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "ServerModule.start()" in done.stderr
    assert json.dumps(done.stdout) == '""'


def test_name_may_begin_with_a_dash_where_no_gateway_has_to_take_it() -> None:
    server = modcore.ServerModule(str.upper, "-x").start()
    try:
        assert server("a") == "A"
    finally:
        server.stop()


def _raises(kind: str) -> None:
    raise {"GeneratorExit": GeneratorExit, "StopIteration": StopIteration}[kind]


@pytest.mark.parametrize("kind", ["GeneratorExit", "StopIteration"])
def test_exception_that_would_end_something_else_is_an_error_of_the_module(kind: str) -> None:
    server = modcore.ServerModule(modcore.ActionModule(_raises)).start()
    try:
        with pytest.raises(RuntimeError, match=kind):
            server(kind)
    finally:
        server.stop()
