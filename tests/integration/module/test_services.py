"""ServerModules that find each other in a gateway, with replicas: real processes, real stores."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import modcore
from modcore.errors import ServiceError
from modcore.gateway.base import GatewayError
from modcore.gateway.directory import shared_directory
from modcore.module.remote import DeadlineExceeded
from processes import children_of, command_of, is_running
from served_modules import (
    Asking,
    Dying,
    Loading,
    NotLoading,
    Patient,
    Sleeper,
    SlowToLoad,
    Worker,
)
from waiting import wait_until

PATIENCE = 30.0


def pids(module: modcore.ServerModule, calls: int = 40) -> set[int]:
    """The processes that answer."""
    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(lambda _: module("pid"), range(calls)))


# Without a gateway


def test_calls_are_spread_over_replicas_and_all_end() -> None:
    module = modcore.ServerModule(Worker(), replicas=3).start()
    try:
        assert len(module.urls) == 3
        answering = pids(module)
        assert len(answering) == 3
    finally:
        module.stop()
    assert not any(map(is_running, answering))


def test_replica_that_dies_comes_back_and_calls_go_on() -> None:
    module = modcore.ServerModule(Worker(), replicas=2, idempotent=True).start()
    try:
        first = module("pid")
        os.kill(first, signal.SIGKILL)
        assert all(module("pid") != first for _ in range(20))
        wait_until(lambda: len(module.urls) == 2, PATIENCE, "it is there again")
        assert module.state.deploy == "done"
    finally:
        module.stop()


def test_only_replica_that_dies_is_waited_for_and_its_state_tells() -> None:
    module = modcore.ServerModule(Worker(), idempotent=True).start()
    try:
        first = module("pid")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not module.urls, PATIENCE)
        assert module.state.deploy == "restarting"
        assert module("pid") != first
        assert module.state.deploy == "done"
    finally:
        module.stop()


def test_call_that_dies_is_made_again_only_when_that_does_no_harm(tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    careful = modcore.ServerModule(Dying(str(once)), replicas=2).start()
    bold = modcore.ServerModule(Dying(str(twice)), replicas=2, idempotent=True).start()
    try:
        with pytest.raises(ServiceError, match="does not answer"):
            careful(1)
        assert once.read_text() == "."
        assert bold(1) == 1
        assert twice.read_text() == ".."
    finally:
        careful.stop()
        bold.stop()


def test_module_that_kills_whatever_it_comes_to_does_not_kill_all() -> None:
    module = modcore.ServerModule(
        modcore.pipeline(lambda: os._exit(3)), replicas=1, idempotent=True, restarts=9
    )
    module.start()
    try:
        with pytest.raises(ServiceError, match="does not answer"):
            module()
    finally:
        module.stop()


def test_replica_that_fails_takes_the_others_down_and_says_why() -> None:
    module = modcore.ServerModule(NotLoading(), replicas=3)
    with pytest.raises(ServiceError, match="the weights are gone"):
        module.start()
    assert module.urls == ()
    assert module.state.deploy == "failed"


def test_call_ends_with_its_deadline() -> None:
    module = modcore.ServerModule(Sleeper(), deadline=0.5).start()
    try:
        assert module(0.0) == 0.0
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"0\.5 s"):
            module(20.0)
        assert time.monotonic() - started < 5
    finally:
        module.stop()


def test_what_is_left_of_a_deadline_holds_for_what_is_called_in_turn(tmp_path: Path) -> None:
    inner = modcore.ServerModule(Sleeper(), deadline=60.0)
    file = tmp_path / "waited"
    outer = modcore.ServerModule(Patient(inner, str(file)), deadline=1.0).start()
    try:
        with pytest.raises(DeadlineExceeded):
            outer()
        wait_until(file.exists, PATIENCE)
        wait_until(lambda: file.read_text(), PATIENCE)
        assert float(file.read_text()) < 5
    finally:
        outer.stop()


@pytest.mark.parametrize("wrong", [{"replicas": 0}, {"deadline": 0}, {"restarts": -1}])
def test_values_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        modcore.ServerModule(Worker(), **wrong)


async def test_async_calls_do_not_block_the_loop() -> None:
    module = await modcore.ServerModule(Sleeper()).astart()
    try:
        started = time.monotonic()
        answers = await asyncio.gather(*(module.acall(0.5) for _ in range(20)))
        assert answers == [0.5] * 20
        assert time.monotonic() - started < 5
    finally:
        await module.astop()


async def test_pieces_are_streamed_to_asyncio_too() -> None:
    module = await modcore.ServerModule(Worker(), stream=True, replicas=2).astart()
    try:
        pieces = await module.acall("count", 3)
        assert [piece async for piece in pieces] == [0, 1, 2]
    finally:
        await module.astop()


def test_forked_child_calls_its_parents_processes_and_leaves_them_alone() -> None:
    module = modcore.ServerModule(Worker()).start()
    try:
        answering = module("pid")

        def call_and_stop() -> bool:
            answer = module("pid")
            module.stop()
            return bool(answer == answering)

        assert forked(call_and_stop) == 0
        assert module("pid") == answering
    finally:
        module.stop()
    assert not is_running(answering)


# With a gateway


def test_services_start_at_once_and_find_each_other_by_name(gateway: str) -> None:
    inner = modcore.ServerModule(Worker(), "inner", gateway=gateway, replicas=2)
    outer = modcore.ServerModule(Asking(inner), "outer", gateway=gateway)
    outer.start()
    try:
        told, asked, own = outer()
        assert {told, asked} <= pids(inner)
        assert own not in {told, asked, os.getpid()}
        directory = shared_directory(gateway)
        wait_until(lambda: len(directory.instances("inner")) == 2, PATIENCE)
        wait_until(lambda: set(directory.services()) == {"inner", "outer"}, PATIENCE)
    finally:
        outer.stop()
    wait_until(lambda: not shared_directory(gateway).services(), PATIENCE, "all have left")


def test_parent_of_a_slow_child_is_up_as_soon_as_it(gateway: str) -> None:
    slow = [modcore.ServerModule(SlowToLoad(), gateway=gateway) for _ in range(3)]
    root = modcore.ServerModule(modcore.parallel(*slow), gateway=gateway)
    alone = modcore.ServerModule(SlowToLoad(), gateway=gateway)
    started = time.monotonic()
    alone.start()
    one = time.monotonic() - started
    alone.stop()
    try:
        root.start()
        assert time.monotonic() - started - one < 4 * one  # 4 services, each loads 1.5 s
        assert len(set(root())) == 3
    finally:
        root.stop()


def test_names_of_services_without_one_tell_where_they_are_and_are_nobody_elses(
    gateway: str,
) -> None:
    twins = [modcore.ServerModule(Loading(), gateway=gateway) for _ in range(2)]
    root = modcore.ActionModule(modcore.pipeline(*twins))
    try:
        modcore.ModuleBase.start(root)
        directory = shared_directory(gateway)
        wait_until(lambda: len(directory.services()) == 2, PATIENCE)
        assert all("ActionModule" in name for name in directory.services())
    finally:
        root.stop()


def test_environment_names_the_gateway(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODCORE_GATEWAY", gateway)
    module = modcore.ServerModule(Worker(), "worker").start()
    try:
        assert shared_directory(gateway).wait_for("worker", PATIENCE)
        assert "MODCORE_GATEWAY" not in module("environment")
        assert "MODCORE_CLUSTER_KEY" not in module("environment")
    finally:
        module.stop()


def test_handle_in_another_process_follows_a_service_that_moves(gateway: str) -> None:
    inner = modcore.ServerModule(Worker(), "inner", gateway=gateway, idempotent=True)
    outer = modcore.ServerModule(Asking(inner), "outer", gateway=gateway).start()
    try:
        _, first, _ = outer()
        os.kill(first, signal.SIGKILL)
        assert outer()[1] != first
        inner.start()
        assert outer()[1] == inner("pid")
    finally:
        outer.stop()


def test_forked_child_follows_a_service_that_moves(gateway: str) -> None:
    module = modcore.ServerModule(Worker(), "worker", gateway=gateway, idempotent=True).start()
    try:
        first = module("pid")

        def call_when_it_has_moved() -> bool:
            os.kill(first, signal.SIGKILL)
            return bool(module("pid") != first)

        assert forked(call_when_it_has_moved) == 0
    finally:
        module.stop()


def test_service_without_a_gateway_calls_one_that_has_one(gateway: str) -> None:
    inner = modcore.ServerModule(Worker(), "inner", gateway=gateway)
    outer = modcore.ServerModule(Asking(inner), gateway="").start()
    try:
        assert outer()[1] == inner("pid")
    finally:
        outer.stop()


def test_failure_in_a_tree_names_all_that_failed_and_leaves_nothing(gateway: str) -> None:
    good = modcore.ServerModule(Worker(), "good", gateway=gateway)
    bad = modcore.ServerModule(NotLoading(), "bad", gateway=gateway)
    root = modcore.ServerModule(modcore.parallel(good, bad), "root", gateway=gateway)
    with pytest.raises(ServiceError, match="the weights are gone") as caught:
        root.start()
    assert "service bad ended" in str(caught.value)
    assert "while deploying ServerModule 'root' → module → action step 2" in caught.value.__notes__
    assert (good.url, bad.url, root.url) == (None, None, None)
    wait_until(lambda: not shared_directory(gateway).services(), PATIENCE, "all have left")


def test_time_limit_leaves_nothing(gateway: str) -> None:
    slow = [modcore.ServerModule(Sleeping(), gateway=gateway) for _ in range(2)]
    root = modcore.ActionModule(modcore.pipeline(*slow))
    with pytest.raises(TimeoutError, match=r"step 1 and .*step 2.* 2 s"):
        root.update(timeout=2)
    assert [each.url for each in slow] == [None, None]
    assert not shared_directory(gateway).services()


def test_ctrl_c_leaves_nothing(gateway: str) -> None:
    slow = [modcore.ServerModule(Sleeping(), gateway=gateway) for _ in range(2)]
    root = modcore.ActionModule(modcore.pipeline(*slow))
    before = services_here()

    def press() -> None:
        wait_until(lambda: len(services_here() - before) >= 2, PATIENCE)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        root.start()
    wait_until(lambda: not services_here() - before, PATIENCE, "no process is left")


def test_wrong_names_and_gateways_are_refused_before_anything_starts(gateway: str) -> None:
    twins = [modcore.ServerModule(Worker(), "twin", gateway=gateway) for _ in range(2)]
    with pytest.raises(ServiceError, match="both called 'twin'"):
        modcore.ActionModule(modcore.pipeline(*twins)).start()
    with pytest.raises(ServiceError, match="cannot be a service's name"):
        modcore.ServerModule(Worker(), "no name", gateway=gateway).start()
    with pytest.raises(GatewayError, match="this process alone"):
        modcore.ServerModule(Worker(), gateway="memory://").start()


def test_handle_that_travels_holds_no_secret(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODCORE_GATEWAY", gateway)
    module = modcore.ServerModule(Worker(), "worker").start()
    try:
        content = pickle.dumps(module)
        assert module._token.encode() not in content
        assert pickle.loads(content)("echo", 1) == [[1], {}]
    finally:
        module.stop()


class Sleeping(modcore.ModuleBase):
    """Takes longer to load than anybody waits here."""

    def setup(self) -> None:
        time.sleep(600)


def services_here() -> set[int]:
    """The processes of services that this one has started and that live."""
    return {pid for pid in children_of(os.getpid()) if "serve-module" in command_of(pid)}


def forked(action: Callable[[], bool]) -> int:
    """The exit code of a forked child: 0 when `action` says so there."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if action() else 2
        finally:
            os._exit(code)
    ended: list[int] = []

    def has_ended() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.append(os.waitstatus_to_exitcode(status))
        return pid == child

    try:
        wait_until(has_ended, PATIENCE, "the forked child has ended")
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return ended[-1]
