"""An update that is given up: what runs is interrupted, branches of flows too; what cannot be is named."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modcore
from modcore.module import lifecycle


class Task(modcore.ModuleBase):
    def __init__(
        self,
        name: str,
        train: Any = None,
        deploy: Any = None,
        stop: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__(name=name)
        self._train, self._deploy, self._stop = train, deploy, stop

    def _get_train_tasks(self) -> Any:
        return self._train

    def _get_deploy_tasks(self) -> Any:
        return self._deploy

    def stop(self) -> None:
        self._stop()
        super().stop()


class Branch:
    """Runs Python code until it is interrupted; `running` counts those that do."""

    def __init__(self) -> None:
        self.running: list[int] = []
        self.both = threading.Event()

    def __call__(self, *_: object) -> None:
        me = threading.get_ident()
        self.running.append(me)
        try:
            if len(self.running) == 2:
                self.both.set()
            for _ in range(6000):
                time.sleep(0.01)
        finally:
            self.running.remove(me)

    async def alive(self, *_: object) -> None:
        self.running.append(0)
        try:
            await asyncio.sleep(60)
        finally:
            self.running.remove(0)


class Called(modcore.ModuleBase):
    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self._branch = branch

    def forward(self) -> None:
        self._branch()


def flows(branch: Branch) -> dict[str, Any]:
    graph = modcore.graph(a=branch, b=branch)
    graph.add_edge("__start__", ["a", "b"])
    graph.add_edge(["a", "b"], "__end__")
    nested = modcore.parallel(modcore.parallel(branch, branch), modcore.parallel(branch, branch))
    return {
        "parallel": modcore.parallel(branch, branch),
        "warp": lambda: modcore.warp(branch)([1, 2]),
        "graph": lambda: graph(1),
        "nested": nested,
        "coroutines": modcore.parallel(branch.alive, branch.alive),
        "a thread beside a coroutine": modcore.parallel(branch, branch.alive),
        "modules": modcore.parallel(Called(branch), Called(branch), _concurrent="async"),
        "tasks": modcore.parallel(branch.alive, branch.alive, _concurrent="async"),
    }


KINDS = list(flows(Branch()))


@pytest.mark.parametrize("kind", KINDS)
def test_branches_end_with_a_time_limit_in_the_main_thread(kind: str) -> None:
    branch = Branch()
    with pytest.raises(TimeoutError, match="training Task 'a'"):
        Task("a", flows(branch)[kind]).update(timeout=0.3)
    assert branch.running == []


@pytest.mark.parametrize("kind", KINDS)
async def test_branches_end_with_a_cancelled_aupdate(kind: str) -> None:
    branch = Branch()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Task("a", flows(branch)[kind]).aupdate(), 0.3)
    assert branch.running == []


def test_branches_end_with_ctrl_c() -> None:
    branch = Branch()

    def press() -> None:
        branch.both.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=press).start()
    module = Task("a", modcore.parallel(branch, branch))
    with pytest.raises(KeyboardInterrupt):
        module.update()
    assert branch.running == []
    assert module.state.train == "interrupted"


def test_the_same_threads_work_on_after_an_interrupt() -> None:
    branch = Branch()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            Task("a", modcore.parallel(branch, branch, branch)).update(timeout=0.1)
        assert modcore.parallel(abs, abs, abs)(-1) == (1, 1, 1)


def test_branch_that_blocks_is_named() -> None:
    release = threading.Event()
    try:
        with pytest.raises(TimeoutError) as caught:
            Task("a", modcore.parallel(ok=Branch(), stuck=lambda: release.wait(60))).update(
                timeout=0.2
            )
    finally:
        release.set()
    assert any("parallel, branch 'stuck', blocks" in note for note in caught.value.__notes__)


async def test_branch_that_blocks_is_named_in_a_thread_too() -> None:
    release = threading.Event()
    try:
        with pytest.raises(TimeoutError) as caught:
            stuck = modcore.parallel(ok=Branch(), stuck=lambda: release.wait(60))
            await Task("a", stuck).aupdate(timeout=0.2)
    finally:
        release.set()
    assert any("branch 'stuck', blocks" in note for note in caught.value.__notes__)


def test_time_limit_of_several_trainings_is_one_error_with_their_paths() -> None:
    root = Task("r")
    root.a, root.b = Task("a", Branch()), Task("b", Branch())
    with pytest.raises(TimeoutError, match=r"→ a and .*→ b were not done after 0.3 s"):
        root.update(timeout=0.3, train_jobs=2)
    assert (root.a.state.train, root.b.state.train) == ("failed", "failed")


def test_time_limit_covers_asking_for_the_task() -> None:
    class Slow(modcore.ModuleBase):
        def _get_train_tasks(self) -> None:
            Branch()()

    module = Slow()
    with pytest.raises(TimeoutError, match="training Slow"):
        module.update(timeout=0.2)
    assert module.state.train == "failed"


def test_stop_that_hangs_while_an_update_is_undone_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "STOP_SECONDS", 0.2)
    stopped: list[str] = []
    root = Task("r", deploy=lambda: 1 / 0)
    root.a = Task("a", deploy=lambda: 0, stop=lambda: stopped.append("a"))
    root.b = Task("b", deploy=lambda: 0, stop=Branch())
    with pytest.raises(ZeroDivisionError) as caught:
        root.update()
    assert stopped == ["a"]
    assert any("→ b could not be stopped" in note for note in caught.value.__notes__)


@pytest.fixture
def own_alarm() -> Iterator[list[str]]:
    rung: list[str] = []
    former = signal.signal(signal.SIGALRM, lambda *_: rung.append("mine"))
    yield rung
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


@pytest.mark.parametrize("interval", [0, 0.05])
def test_an_alarm_of_the_caller_and_the_limit_both_ring(
    own_alarm: list[str], interval: float
) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.1, interval)
    with pytest.raises(TimeoutError):
        Task("a", Branch()).update(timeout=0.3)
    assert own_alarm.count("mine") == 1 if not interval else len(own_alarm) > 2
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) == bool(interval)


def test_an_alarm_of_the_caller_that_comes_later_still_rings(own_alarm: list[str]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with pytest.raises(TimeoutError):
        Task("a", Branch()).update(timeout=0.1)
    assert not own_alarm
    while not own_alarm:
        signal.sigtimedwait([], 0.05)


def test_stop_goes_on_when_a_child_cannot_be_stopped() -> None:
    stopped: list[str] = []

    def fail() -> None:
        raise RuntimeError("cannot stop")

    root = Task("r")
    root.a, root.bad = Task("a", stop=lambda: stopped.append("a")), Task("bad", stop=fail)
    root.z = Task("z", stop=lambda: stopped.append("z"))
    with pytest.raises(RuntimeError, match="cannot stop") as caught:
        root.stop()
    assert sorted(stopped) == ["a", "z"]
    assert "while stopping Task 'r' → bad" in str(caught.value.__notes__)
    root.worse = Task("worse", stop=fail)
    with pytest.raises(ExceptionGroup, match="could not be stopped"):
        root.stop()


def test_second_ctrl_c_does_not_keep_the_others_from_being_stopped() -> None:
    stopped: list[str] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    root = Task("r", deploy=interrupt)
    root.a = Task("a", deploy=lambda: 0, stop=lambda: stopped.append("a"))
    root.b = Task("b", deploy=lambda: 0, stop=interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        root.update()
    assert stopped == ["a"]
    assert any("→ b could not be stopped" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("wrap", [lambda task: task, modcore.pipeline, modcore.parallel])
def test_task_that_is_a_generator_is_drained(wrap: Any) -> None:
    done: list[int] = []

    def pieces() -> Iterator[int]:
        done.append(1)
        yield 1
        done.append(2)

    module = Task("a", wrap(pieces))
    module.update()
    assert (done, module.state.train) == ([1, 2], "done")


def test_task_that_is_an_async_generator_is_drained() -> None:
    done: list[int] = []

    async def pieces() -> Any:
        yield 1
        done.append(2)

    Task("a", modcore.pipeline(pieces)).update()
    assert done == [2]


def tick(path: str) -> None:
    for _ in range(3000):
        with Path(path).open("a") as file:
            file.write("x")
        time.sleep(0.02)


def test_branches_in_other_processes_end_too(tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    ready = modcore.parallel(abs, abs, _concurrent="process")
    assert ready(-1) == (1, 1)  # the processes are there
    both = modcore.warp(tick, _concurrent="process")
    with pytest.raises(TimeoutError):
        Task("a", lambda: both([str(ticks)] * 2)).update(timeout=4)
    before = ticks.stat().st_size
    assert before
    assert ready(-1) == (1, 1)  # and still are
    time.sleep(0.2)
    assert ticks.stat().st_size == before


def stay(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        with contextlib.suppress(SystemExit):
            time.sleep(60)


@pytest.mark.parametrize("form", ["sync", "async"])
def test_process_that_does_not_leave_its_call_is_killed(tmp_path: Path, form: str) -> None:
    pid = tmp_path / "pid"
    only = modcore.parallel(stay, _concurrent="process")

    async def until_it_runs() -> None:
        running = asyncio.ensure_future(only.acall(str(pid)))
        while not pid.exists() or not pid.read_text():
            await asyncio.sleep(0.05)
        running.cancel()
        await running

    if form == "sync":
        with pytest.raises(TimeoutError):
            Task("a", lambda: only(str(pid))).update(timeout=3)
    else:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(until_it_runs())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid.read_text()}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid.read_text()}").exists()
    assert modcore.parallel(abs, _concurrent="process")(-1) == (1,)  # in new ones


class Launched:
    """Services that are there at once, and a stop that waits until it may go on."""

    def __init__(self) -> None:
        self.running: list[Launched.Service] = []
        self.stopping, self.may_stop = threading.Event(), threading.Event()

    class Service:
        url = "http://127.0.0.1:1"

        def __init__(self, launched: Launched) -> None:
            self.launched = launched
            launched.running.append(self)

        def poll(self) -> None:
            return None

        def stop(self) -> int:
            self.launched.stopping.set()
            self.launched.may_stop.wait(10)
            self.launched.running.remove(self)
            return 0

    def deploy(self, *_: object) -> Service:
        return self.Service(self)

    def service_stopped(self, *_: object) -> None: ...


def test_start_that_waits_for_its_former_process_leaks_none_of_another_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launched = Launched()
    monkeypatch.setattr("modcore.module.replicas.plugin_manager", lambda: launched)
    module = modcore.ServerModule(abs).start()
    held_up = threading.Thread(target=module.start)
    held_up.start()
    assert launched.stopping.wait(10)
    module.start()
    launched.may_stop.set()
    held_up.join()
    assert len(launched.running) == 1
    module.stop()
    assert launched.running == []
