"""update(): all training, then all deployment, then all evaluation; children first; failures undone."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import modcore
from modcore.module.submodules import ModuleCycle
from waiting import await_until

LOG: list[str] = []


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    LOG.clear()


class Node(modcore.ModuleBase):
    """Logs what happens to it; `fail` and `hang` name the step in which it does."""

    def __init__(
        self, name: str, *children: modcore.ModuleBase, fail: str = "", hang: str = ""
    ) -> None:
        super().__init__(name=name)
        self.children = list(children)
        self.fail, self.hang = fail, hang

    def _task(self, step: str) -> Callable[[], None]:
        def task() -> None:
            LOG.append(f"{step} {self.name}")
            if self.hang == step:
                time.sleep(60)
            if self.fail == step:
                raise LookupError(f"{self.name} cannot {step}")

        return task

    def _get_train_tasks(self) -> Callable[[], None]:
        return self._task("train")

    def _get_deploy_tasks(self) -> Callable[[], None]:
        return self._task("deploy")

    def stop(self) -> None:
        LOG.append(f"stop {self.name}")
        super().stop()

    def forward(self, value: Any) -> str:
        LOG.append(f"call {self.name}")
        return f"{self.name}({value})"


def test_update_trains_all_then_deploys_all_then_evaluates_all_children_first() -> None:
    root = Node("root", Node("a"), Node("b"))
    root.evalset([1])
    assert root.update() is root
    assert [
        *("train a", "train b", "train root"),
        *("deploy a", "deploy b", "deploy root"),
        "call root",
    ] == LOG
    assert root.eval_result == ["root(1)"]


def test_module_that_two_others_hold_is_updated_once() -> None:
    shared = Node("shared")
    Node("root", Node("a", shared), Node("b", shared)).update()
    assert LOG.count("train shared") == 1
    assert LOG.index("deploy shared") < LOG.index("deploy a")


def test_start_deploys_again_and_trains_nothing() -> None:
    root = Node("root", Node("a"))
    root.start()
    root.start()
    assert LOG == ["deploy a", "deploy root"] * 2


def test_update_that_is_not_recursive_leaves_submodules_alone() -> None:
    Node("root", Node("a")).update(recursive=False)
    assert LOG == ["train root", "deploy root"]


def test_skipped_steps_are_left_out_and_said_so() -> None:
    child = Node("a").skip("train")
    Node("root", child).update()
    assert "train a" not in LOG and "deploy a" in LOG
    assert child.state.train == "skipped"
    with pytest.raises(ValueError, match="no step 'fly'"):
        child.skip("fly")  # type: ignore[arg-type]


def test_skipped_steps_add_up_until_none_is_named() -> None:
    node = Node("a").skip("train").skip("deploy")
    node.update()
    assert LOG == []
    node.skip().update()
    assert LOG == ["train a", "deploy a"]


@pytest.mark.parametrize("make", ["itself", "through another", "in a list", "in a flow"])
def test_module_that_holds_itself_is_refused_with_the_way_round(make: str) -> None:
    root, other = Node("root"), Node("other")
    held: Any = {
        "itself": root,
        "through another": other,
        "in a list": [root],
        "in a flow": modcore.pipeline(str, other),
    }[make]
    root.held = held
    other.back = root
    with pytest.raises(ModuleCycle, match="cannot hold itself"):
        root.update()
    assert LOG == []


def test_failing_training_stops_what_follows_and_keeps_its_type() -> None:
    child = Node("a", fail="train")
    root = Node("root", child, Node("b"))
    with pytest.raises(LookupError, match="a cannot train") as caught:
        root.update()
    assert caught.value.__notes__ == ["while training Node 'root' → children[0]"]
    assert LOG == ["train a"]
    assert (child.state.train, root.state.train) == ("failed", "never")
    assert isinstance(child.state.error, LookupError)


def test_failing_deployment_takes_down_what_this_call_has_deployed_in_reverse() -> None:
    earlier = Node("earlier")
    earlier.start()
    LOG.clear()
    a, b, c = Node("a"), Node("b", fail="deploy"), Node("c")
    root = Node("root", a, b, c)
    with pytest.raises(LookupError):
        root.start()
    assert LOG == ["deploy a", "deploy b", "stop b", "stop a"]
    assert (a.state.deploy, b.state.deploy, c.state.deploy) == ("stopped", "failed", "never")
    b.fail = ""
    LOG.clear()
    root.start()
    assert LOG == ["deploy a", "deploy b", "deploy c", "deploy root"]
    assert b.state.deploy == "done" and b.state.error is None


def test_failing_evaluation_takes_down_what_was_deployed() -> None:
    root = Node("root")
    root.evalset([1])
    root.forward = lambda value: 1 / 0  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        root.update()
    assert LOG == ["train root", "deploy root", "stop root"]
    assert (root.state.deploy, root.state.eval) == ("stopped", "failed")


def test_failure_takes_down_nothing_that_this_call_did_not_deploy() -> None:
    child = Node("child")
    child.start()
    root = Node("root", child)
    root.evalset([1])
    root.forward = lambda value: 1 / 0  # type: ignore[method-assign,assignment]
    LOG.clear()
    with pytest.raises(ZeroDivisionError):
        root.update(recursive=False)
    assert LOG == ["train root", "deploy root", "stop root"]
    assert child.state.deploy == "done"


def test_each_module_is_stopped_once_however_many_hold_it() -> None:
    layer: list[modcore.ModuleBase] = [Node("0")]
    for depth in range(1, 30):
        layer = [Node(f"{depth} {side}", *layer) for side in "ab"]
    Node("root", *layer).stop()
    assert len(LOG) == len(set(LOG)) == 60


def test_module_that_holds_itself_can_be_stopped_and_shown() -> None:
    root = Node("root")
    root.me = root
    root.stop()
    root.wait()
    assert repr(root) == "<Module type=Node name=root>\n└- <...>"


def test_outer_time_limit_holds_inside_an_inner_one() -> None:
    class Nesting(Node):
        def _get_train_tasks(self) -> Callable[[], None]:
            return lambda: Node("inner", hang="train").update(timeout=30) and None

    with pytest.raises(TimeoutError, match=r"training Nesting 'root'.*0\.2 s"):
        Nesting("root").update(timeout=0.2)


def test_modules_that_training_adds_are_deployed() -> None:
    class Growing(Node):
        def _get_train_tasks(self) -> Callable[[], None]:
            return lambda: self.children.append(Node("grown"))

    Growing("root").update()
    assert LOG == ["deploy grown", "deploy root"]


def test_several_failures_of_those_that_train_together_are_all_told() -> None:
    meeting = threading.Barrier(2, timeout=10)

    class Failing(Node):
        def _get_train_tasks(self) -> Callable[[], None]:
            def task() -> None:
                meeting.wait()
                raise LookupError(self.name)

            return task

    with pytest.raises(ExceptionGroup) as caught:
        Node("root", Failing("a"), Failing("b")).update(train_jobs=2)
    assert {str(error) for error in caught.value.exceptions} == {"a", "b"}


def test_module_that_cannot_be_stopped_holds_nobody_else_up() -> None:
    a, b = Node("a"), Node("b")
    b.stop = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(LookupError):
        Node("root", a, b, Node("c", fail="deploy")).start()
    assert a.state.deploy == "stopped"
    assert isinstance(b.state.error, ZeroDivisionError)


def test_interrupt_leaves_nothing_running_and_says_so() -> None:
    class Interrupted(Node):
        def _get_deploy_tasks(self) -> Callable[[], None]:
            def task() -> None:
                raise KeyboardInterrupt

            return task

    a, b = Node("a"), Interrupted("b")
    with pytest.raises(KeyboardInterrupt):
        Node("root", a, b).start()
    assert a.state.deploy == "stopped"
    assert b.state.deploy == "interrupted"


def test_task_that_hangs_is_ended_with_its_path() -> None:
    hanging = Node("b", hang="train")
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"training Node 'root' → children\[1\].*0\.2 s"):
        Node("root", Node("a"), hanging).update(timeout=0.2)
    assert time.monotonic() - started < 10
    assert hanging.state.train == "failed"


def test_task_that_hangs_in_another_thread_does_not_hold_the_caller() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            Node("root", hang="deploy").start(timeout=0.2)
        except TimeoutError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert failures and "deploying" in str(failures[0])


class Spinning(Node):
    """Trains without end, in Python, and says when it begins and that it ends."""

    def _task(self, step: str) -> Callable[[], None]:
        def task() -> None:
            LOG.append(f"{step} {self.name}")
            try:
                while step == "train":
                    try:
                        time.sleep(0.001)
                    except Exception:
                        LOG.append("a handler of errors held it")
            finally:
                LOG.append(f"end of {step} {self.name}")

        return task


async def test_python_code_that_takes_too_long_in_a_thread_is_interrupted() -> None:
    node = Spinning("root")
    with pytest.raises(TimeoutError) as caught:
        await node.aupdate(timeout=0.2)
    assert LOG == ["train root", "end of train root"]
    assert node.state.train == "failed"
    assert not any("blocks" in note for note in caught.value.__notes__)


async def test_coroutine_that_waits_too_long_in_a_thread_is_interrupted() -> None:
    class Waiting(Node):
        def _get_train_tasks(self) -> Any:
            async def train() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    LOG.append("end of waiting")

            return train

    with pytest.raises(TimeoutError):
        await Waiting("root").aupdate(timeout=0.2)
    assert LOG == ["end of waiting"]


async def test_update_inside_another_in_a_thread_is_interrupted_with_it() -> None:
    class Nesting(Node):
        def _get_train_tasks(self) -> Callable[[], None]:
            return lambda: Spinning("inner").update(timeout=30) and None

    with pytest.raises(TimeoutError, match=r"training Nesting 'root'.*0\.2 s"):
        await Nesting("root").aupdate(timeout=0.2)
    assert LOG == ["train inner", "end of train inner"]


async def test_task_that_blocks_in_a_thread_is_said_to_be_left_and_ends_when_it_comes_back() -> (
    None
):
    block = threading.Event()

    class Blocking(Node):
        def _get_deploy_tasks(self) -> Callable[[], None]:
            def task() -> None:
                try:
                    block.wait()
                    LOG.append("went on")
                finally:
                    LOG.append("ended")

            return task

    with pytest.raises(TimeoutError) as caught:
        await Blocking("root").astart(timeout=0.2)
    assert any("deploying Blocking 'root' blocks" in note for note in caught.value.__notes__)
    block.set()
    await await_until(lambda: "ended" in LOG)
    assert "went on" not in LOG


async def test_cancelled_update_interrupts_what_runs_and_returns_when_all_is_undone() -> None:
    node = Spinning("b")
    update = asyncio.create_task(Node("root", Node("a"), node).aupdate())
    await await_until(lambda: "train b" in LOG)
    update.cancel()
    with pytest.raises(asyncio.CancelledError):
        await update
    assert LOG == ["train a", "train b", "end of train b"]
    assert node.state.train == "interrupted"


def test_interrupt_while_several_train_together_interrupts_them_all() -> None:
    a, b = Spinning("a"), Spinning("b")

    def press_when_both_train() -> None:
        while not {"train a", "train b"} <= set(LOG):
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press_when_both_train).start()
    with pytest.raises(KeyboardInterrupt):
        Node("root", a, b).update(train_jobs=2)
    assert {"end of train a", "end of train b"} <= set(LOG)
    assert (a.state.train, b.state.train) == ("interrupted", "interrupted")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "2", True])
def test_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Node("root").update(timeout=timeout)


def test_independent_modules_train_together_when_asked_and_parents_wait() -> None:
    meeting = threading.Barrier(2, timeout=10)

    class Meeting(Node):
        def _get_train_tasks(self) -> Callable[[], None]:
            return lambda: (meeting.wait(), LOG.append(f"train {self.name}"))[0] and None

    Node("root", Meeting("a"), Meeting("b")).update(train_jobs=2)
    assert set(LOG[:2]) == {"train a", "train b"}
    assert LOG[2] == "train root"


def test_failure_among_those_that_train_together_ends_the_update() -> None:
    with pytest.raises(LookupError):
        Node("root", Node("a", fail="train"), Node("b")).update(train_jobs=2)
    assert "train root" not in LOG and "deploy a" not in LOG


def test_stop_stops_everything_below() -> None:
    a = Node("a")
    root = Node("root", a)
    root.start()
    root.stop()
    assert (root.state.deploy, a.state.deploy) == ("stopped", "stopped")
    root.stop()


def test_restart_stops_and_starts() -> None:
    Node("a").restart()
    assert LOG == ["stop a", "deploy a"]


async def test_async_twins_do_the_same() -> None:
    root = Node("root", Node("a"))
    root.evalset([2])
    assert await root.aupdate() is root
    await root.astart()
    await root.aeval()
    await root.astop()
    assert await root.acall(3) == "root(3)"
    assert root.eval_result == ["root(2)"]
    assert root.state.deploy == "stopped"


def test_chain_longer_than_the_stack_is_updated() -> None:
    module = Node("0")
    for number in range(3000):
        module = Node(str(number), module)
    module.for_each(lambda each: True, lambda each: LOG.append("met"))
    assert len(LOG) == 3001


def test_task_that_is_a_coroutine_function_is_run() -> None:
    class Later(Node):
        def _get_train_tasks(self) -> Any:
            async def train() -> None:
                LOG.append("trained later")

            return train

    Later("root").update()
    assert LOG == ["trained later", "deploy root"]


async def test_cancelled_update_begins_nothing_more_and_undoes_what_it_has_done() -> None:
    class Slow(Node):
        def _get_deploy_tasks(self) -> Callable[[], None]:
            return lambda: (LOG.append(f"deploy {self.name}"), time.sleep(0.3))[0]

    a, b = Slow("a"), Slow("b")
    update = asyncio.create_task(Node("root", a, b).aupdate())
    while "deploy a" not in LOG:
        await asyncio.sleep(0.01)
    update.cancel()
    with pytest.raises(asyncio.CancelledError):
        await update
    async with asyncio.timeout(10):
        while "stop a" not in LOG:
            await asyncio.sleep(0.01)
    assert "deploy b" not in LOG
    assert a.state.deploy == "interrupted"


def test_error_in_an_evaluation_names_the_row() -> None:
    node = Node("root")
    node.evalset(["a", "b"])
    node.forward = lambda row: {"a": 1}[row]  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(KeyError) as caught:
        node.eval()
    assert caught.value.__notes__[0] == "at row 2 of the evaluation set"
