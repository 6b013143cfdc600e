"""Branches wait for each other at a barrier, and never for one that does not come."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from modcore.flow import BarrierBroken, FlowError, barrier, parallel, pipeline, warp
from modcore.flow import workers as workers_module


def recorder() -> tuple[list[str], Any]:
    seen: list[str] = []

    def note(text: str) -> Any:
        def step(value: object) -> object:
            seen.append(text)
            return value

        return step

    return seen, note


@pytest.mark.parametrize("width", [1, 2, 6, 40])
def test_nobody_goes_on_before_all_are_there(width: int) -> None:
    seen, note = recorder()
    branches = [pipeline(note("before"), barrier, note("after")) for _ in range(width)]
    assert parallel(*branches)(3) == (3,) * width
    assert seen == ["before"] * width + ["after"] * width


async def test_nobody_goes_on_before_all_are_there_in_the_async_form() -> None:
    seen, note = recorder()

    async def pause(value: object) -> object:
        await asyncio.sleep(0)
        return value

    branches = [pipeline(pause, note("before"), barrier, note("after")) for _ in range(6)]
    threads = [pipeline(note("before"), barrier, note("after")) for _ in range(6)]
    assert await parallel(*branches, *threads).acall(3) == (3,) * 12
    assert seen == ["before"] * 12 + ["after"] * 12
    assert await parallel(*branches, _concurrent="async").acall(3) == (3,) * 6


def test_barrier_can_be_used_again_and_again() -> None:
    seen, note = recorder()
    branch = pipeline(note("1"), barrier, note("2"), barrier, note("3"), barrier, note("4"))
    parallel(*[branch] * 5)(0)
    assert "".join(seen) == "1" * 5 + "2" * 5 + "3" * 5 + "4" * 5


def test_barrier_hands_on_several_values() -> None:
    two = pipeline(barrier, lambda a, b: a + b)
    assert parallel(two, two)(1, 2) == (3, 3)


def test_warp_has_branches_too() -> None:
    seen, note = recorder()
    warp(pipeline(note("a"), barrier, note("b")))(*range(15))
    assert seen == ["a"] * 15 + ["b"] * 15


def test_barrier_belongs_to_the_innermost_parallel() -> None:
    inner = parallel(barrier, barrier)
    assert parallel(inner, abs)(-1) == ((-1, -1), 1)


def test_barrier_wider_than_the_threads_that_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "MAX_THREADS", 2)
    monkeypatch.setattr("modcore.flow.batch.workers", workers_module.Workers())
    assert parallel(*[barrier] * 30)(1) == (1,) * 30
    assert asyncio.run(parallel(*[barrier] * 30).acall(1)) == (1,) * 30


@pytest.mark.parametrize("way", [True, "async"])
def test_branch_that_never_comes_releases_the_others_with_an_error(way: Any) -> None:
    with pytest.raises(
        BarrierBroken, match="branch 'abs' ended without reaching the barrier"
    ) as one:
        parallel(barrier, abs, _concurrent=way)(1)
    assert one.value.__notes__ == ["parallel → branch 'barrier'"]
    with pytest.raises(ExceptionGroup) as caught:
        parallel(a=barrier, b=barrier, c=abs, _concurrent=way)(1)
    assert [type(e) for e in caught.value.exceptions] == [BarrierBroken, BarrierBroken]


def test_branch_that_comes_once_too_seldom_releases_the_others() -> None:
    with pytest.raises(BarrierBroken):
        parallel(pipeline(barrier, barrier), barrier)(1)


@pytest.mark.parametrize("way", [True, "async"])
def test_failing_branch_releases_the_others_and_its_error_is_what_is_raised(way: Any) -> None:
    def fail(_: object) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        parallel(*[barrier] * 5, fail, _concurrent=way)(1)
    assert caught.value.__notes__ == ["parallel → branch 'fail'"]


def test_interrupted_call_leaves_nobody_waiting() -> None:
    broken: list[str] = []
    ended = threading.Event()

    def waiting(value: object) -> None:
        try:
            barrier(value)
        except BarrierBroken as error:
            broken.append(str(error))
            ended.set()

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parallel(interrupted, waiting, waiting)(1)
    assert broken == [] or ended.wait(10)


def test_barrier_outside_a_parallel_is_an_error() -> None:
    with pytest.raises(FlowError, match="outside the branches of a parallel"):
        pipeline(barrier)(1)


@pytest.mark.parametrize("form", ["sync", "async"])
def test_barrier_in_a_sequential_parallel_is_an_error(form: str) -> None:
    flow = parallel.sequential(barrier, barrier)
    with pytest.raises(FlowError, match="one after the other"):
        flow(1) if form == "sync" else asyncio.run(flow.acall(1))


def test_blocking_wait_on_an_event_loop_is_refused() -> None:
    with pytest.raises(FlowError, match=r"await barrier\.acall"):
        parallel(lambda x: barrier(x), abs, _concurrent="async")(1)
