"""Services that find each other are deployed all at once; whatever else is deployed keeps its order."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable

import pytest

import modcore
from modcore.errors import ServiceError

LOG: list[str] = []
SECONDS = 20.0  # that anything may take here before it has gone wrong


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    LOG.clear()


class Node(modcore.ModuleBase):
    """Logs what happens to it; `during` runs while it is deployed."""

    def __init__(
        self,
        name: str,
        *children: modcore.ModuleBase,
        during: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name=name)
        self.children = list(children)
        self.during = during

    def _get_deploy_tasks(self) -> Callable[[], None] | None:
        def task() -> None:
            LOG.append(f"deploy {self.name}")
            self.during()
            LOG.append(f"done {self.name}")

        return task

    def stop(self) -> None:
        LOG.append(f"stop {self.name}")
        super().stop()


class Findable(Node):
    """A service that others find by its name."""

    def _address(self, path: str) -> tuple[str, str]:
        return "sqlite:///somewhere", self.name or path


def fail(cause: str) -> Callable[[], None]:
    def raise_it() -> None:
        raise LookupError(cause)

    return raise_it


def spin() -> None:
    """Python code that takes too long, and can be interrupted."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(0.005)


def before(first: str, second: str) -> bool:
    return LOG.index(first) < LOG.index(second)


def test_all_services_of_a_tree_begin_at_once_parents_that_call_children_included() -> None:
    meeting = threading.Barrier(4, timeout=SECONDS)
    leaves = [Findable(name, during=meeting.wait) for name in "abc"]
    root = Findable("root", *leaves, during=meeting.wait)
    root.start()
    assert {each.state.deploy for each in (root, *leaves)} == {"done"}


def test_other_modules_keep_their_order_and_find_what_they_hold_ready() -> None:
    begun, first_done = threading.Event(), threading.Event()
    service = Findable("service", during=lambda: (begun.set(), first_done.wait(SECONDS)))
    first = Node("first", during=lambda: (begun.wait(SECONDS), first_done.set()))
    root = Node("root", first, Node("second", service), Node("third"))
    root.start()
    assert [line for line in LOG if line.startswith("deploy") and "service" not in line] == [
        *("deploy first", "deploy second", "deploy third", "deploy root")
    ]
    assert before("deploy service", "done first")
    assert before("done service", "deploy second")


def test_service_waits_for_what_it_holds_that_is_deployed_here() -> None:
    Findable("root", Findable("free"), Node("held")).start()
    assert before("done held", "deploy root")


def test_service_that_waits_for_another_in_its_setup_does_not_hold_it_up() -> None:
    ready = threading.Event()
    inner = Findable("inner", Node("held"), during=ready.set)
    outer = Findable("outer", inner, during=lambda: ready.wait(SECONDS) or fail("alone")())
    outer.start()
    assert before("done held", "deploy inner")
    assert before("deploy outer", "done inner")


def test_failure_is_told_with_its_path_and_takes_down_what_was_begun() -> None:
    a, b, c = Findable("a"), Findable("b", during=fail("no b")), Findable("c", during=spin)
    started = time.monotonic()
    with pytest.raises(LookupError, match="no b") as caught:
        Node("root", a, b, c).start()
    assert time.monotonic() - started < SECONDS / 2
    assert caught.value.__notes__ == ["while deploying Node 'root' → children[1]"]
    assert {"stop a", "stop b", "stop c"} <= set(LOG)
    assert "deploy root" not in LOG
    assert (a.state.deploy, b.state.deploy) == ("stopped", "failed")
    assert c.state.deploy == "interrupted"


def test_several_failures_are_all_told() -> None:
    meeting = threading.Barrier(2, timeout=SECONDS)

    def failing(cause: str) -> Callable[[], None]:
        def task() -> None:
            meeting.wait()
            raise LookupError(cause)

        return task

    root = Node(
        "root", Findable("a", during=failing("no a")), Findable("b", during=failing("no b"))
    )
    with pytest.raises(ExceptionGroup) as caught:
        root.start()
    assert {str(error) for error in caught.value.exceptions} == {"no a", "no b"}
    paths = {note for error in caught.value.exceptions for note in error.__notes__}
    assert "while deploying Node 'root' → children[0]" in paths


def test_failure_of_another_module_takes_down_services_that_are_still_beginning() -> None:
    service = Findable("service", during=spin)
    begun = threading.Event()
    service.during = lambda: (begun.set(), spin())
    other = Node("other", during=lambda: (begun.wait(SECONDS), fail("no other")()))
    with pytest.raises(LookupError, match="no other"):
        modcore.ActionModule(modcore.pipeline(other, service)).start()
    assert service.state.deploy == "interrupted"
    assert "stop service" in LOG


def test_failed_tree_can_be_started_again() -> None:
    a, b = Findable("a"), Findable("b", during=fail("no b"))
    root = Node("root", a, b)
    with pytest.raises(LookupError):
        root.start()
    b.during = lambda: None
    root.start()
    assert {each.state.deploy for each in (a, b, root)} == {"done"}
    assert b.state.error is None


def test_interrupt_ends_all_that_begins_and_leaves_nothing() -> None:
    meeting = threading.Barrier(3, timeout=SECONDS)

    def during() -> None:
        meeting.wait()
        spin()

    def press() -> None:
        meeting.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=press).start()
    a, b = Findable("a", during=during), Findable("b", during=during)
    with pytest.raises(KeyboardInterrupt):
        Node("root", a, b).update()
    assert {a.state.deploy, b.state.deploy} == {"interrupted"}
    assert {"stop a", "stop b"} <= set(LOG)


def test_time_limit_names_all_that_was_not_ready() -> None:
    a, b, c = Findable("a", during=spin), Findable("b", during=spin), Findable("c")
    with pytest.raises(TimeoutError, match=r"children\[0\] and .*children\[1\].*0\.3 s"):
        Node("root", a, b, c).update(timeout=0.3)
    assert {"stop a", "stop b", "stop c"} <= set(LOG)


async def test_cancelled_start_ends_all_that_begins() -> None:
    a, b = Findable("a", during=spin), Findable("b", during=spin)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Node("root", a, b).astart(), 0.3)
    assert {"stop a", "stop b"} <= set(LOG)


def test_two_services_of_one_name_are_refused_before_anything_begins() -> None:
    root = Node("root", Findable("twin"), Node("other", Findable("twin")))
    with pytest.raises(ServiceError, match=r"children\[0\].*children\[1\].*'twin'"):
        root.start()
    assert LOG == []


def test_service_that_two_others_hold_is_deployed_once() -> None:
    shared = Findable("shared")
    Findable("root", Findable("a", shared), Findable("b", shared)).start()
    assert LOG.count("deploy shared") == 1


def test_services_that_do_not_hold_each_other_are_stopped_together_parents_first() -> None:
    meeting = threading.Barrier(2, timeout=SECONDS)

    class Process(Findable):
        deploys_elsewhere = True

        def stop(self) -> None:
            if self.name != "parent":
                meeting.wait()
            super().stop()

    a, b = Process("a", modcore.ActionModule(str)), Process("b", modcore.ActionModule(str))
    Node("root", Node("other"), Process("parent", a, b)).stop()
    assert before("stop parent", "stop a") and before("stop parent", "stop b")
    assert before("stop root", "stop parent")
    assert sorted(LOG) == ["stop a", "stop b", "stop other", "stop parent", "stop root"]
