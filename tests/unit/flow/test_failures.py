"""An error keeps its type, says once where it was raised, and ends the call in good order."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from modcore.flow import diverter, ifs, loop, parallel, pipeline, switch, warp


def fail(*_: object) -> None:
    raise ValueError("mine")


async def afail(*_: object) -> None:
    raise ValueError("mine")


def same(value: object) -> object:
    return value


def place_of(flow: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(ValueError, match="mine") as caught:
        flow(*args)
    [note] = caught.value.__notes__
    return str(note)


FLOWS: list[tuple[Any, str]] = [
    (pipeline(same, fail), "pipeline → step 2 'fail'"),
    (pipeline(same, parse=fail), "pipeline → step 2 'parse'"),
    (pipeline(same, parse=parallel(a=same, b=fail)), "pipeline → step 2 'parse' → branch 'b'"),
    (pipeline(pipeline(same, fail)), "pipeline → step 1 'pipeline' → step 2 'fail'"),
    (
        pipeline(lambda x: pipeline(fail)(x)),
        "pipeline → step 1 '<lambda>' → pipeline → step 1 'fail'",
    ),
    (pipeline(functools.partial(fail)), "pipeline → step 1 'fail'"),
    (parallel(same, fail), "parallel → branch 'fail'"),
    (parallel.sequential(same, b=fail), "parallel → branch 'b'"),
    (parallel(lambda _: 1, lambda x: fail(x), same), "parallel → branch 2 '<lambda>'"),
    (diverter(fail), "diverter → branch 'fail'"),
    (warp(fail), "warp → input 1 'fail'"),
    (switch({callable: same, "default": fail}), "switch → case 'default'"),
    (switch({fail: same}), "switch → condition 'fail'"),
    (switch({1: same}, conversion=fail), "switch → conversion 'fail'"),
    (ifs(callable, same, fail), "ifs → false branch 'fail'"),
    (ifs(fail, same, same), "ifs → condition 'fail'"),
    (loop(same, fail, count=2), "loop → round 1, step 2 'fail'"),
    (loop(same, stop_condition=fail), "loop → round 1, stop condition 'fail'"),
    (pipeline(same, post_action=fail), "pipeline → post action 'fail'"),
    (pipeline(same, parallel(a=same, b=afail)), "pipeline → step 2 'parallel' → branch 'b'"),
]


@pytest.mark.parametrize(("flow", "place"), FLOWS, ids=[place for _, place in FLOWS])
def test_one_note_says_where_outermost_first(flow: Any, place: str) -> None:
    assert place_of(flow, 1) == place


@pytest.mark.parametrize(("flow", "place"), FLOWS, ids=[place for _, place in FLOWS])
async def test_async_form_says_the_same(flow: Any, place: str) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        await flow.acall(1)
    assert caught.value.__notes__ == [place]


def test_results_that_do_not_fit_the_form_are_told_where() -> None:
    with pytest.raises(TypeError) as caught:
        pipeline(parallel(str, abs).sum)(1)
    assert caught.value.__notes__ == ["pipeline → step 1 'parallel' → .sum of the results"]


@pytest.mark.parametrize("flow", [pipeline(afail), parallel(afail, same), warp(afail)])
def test_an_error_of_a_coroutine_function_has_no_event_loop_in_its_chain(flow: Any) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        flow(1)
    assert caught.value.__context__ is None


def test_notes_of_others_stay() -> None:
    def noted(_: object) -> None:
        error = ValueError("mine")
        error.add_note("theirs")
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        pipeline(pipeline(noted))(1)
    assert caught.value.__notes__ == ["theirs", "pipeline → step 1 'pipeline' → step 1 'noted'"]


def test_same_error_raised_again_does_not_grow() -> None:
    error = ValueError("mine")

    def again(_: object) -> None:
        raise error

    flow = pipeline(again)
    for _ in range(3):
        assert place_of(flow, 1) == "pipeline → step 1 'again'"


def test_error_that_takes_no_note_is_still_the_error() -> None:
    class Closed(ValueError):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    def closed(_: object) -> None:
        raise Closed

    with pytest.raises(Closed):
        pipeline(closed)(1)


def test_stop_iteration_of_an_item_is_an_error_like_any_other() -> None:
    for flow in (pipeline(lambda _: next(iter(()))), ifs(True, lambda _: next(iter(())), same)):
        with pytest.raises(StopIteration):
            flow(1)


def together(width: int) -> Callable[[Exception], Callable[[object], None]]:
    """Makes branches that fail when all of them have begun."""
    begun = threading.Barrier(width)

    def make(error: Exception) -> Callable[[object], None]:
        def branch(_: object) -> None:
            begun.wait(10)
            raise error

        return branch

    return make


def test_several_failures_are_a_group_in_order_each_with_its_place() -> None:
    make = together(2)
    flow = pipeline(parallel(a=make(ValueError("a")), b=make(KeyError("b"))))
    with pytest.raises(ExceptionGroup, match="2 of 2 branches of parallel failed") as caught:
        flow(1)
    assert caught.value.__notes__ == ["pipeline → step 1 'parallel'"]
    assert [(type(e), e.__notes__) for e in caught.value.exceptions] == [
        (ValueError, ["pipeline → step 1 'parallel' → branch 'a'"]),
        (KeyError, ["pipeline → step 1 'parallel' → branch 'b'"]),
    ]


def group_of(flow: Callable[..., Any]) -> list[Any]:
    with pytest.raises(ExceptionGroup, match="2 of 2 branches of parallel failed") as caught:
        flow(1)
    return list(caught.value.exceptions)


def test_same_error_from_two_branches_is_two_each_with_its_place() -> None:
    error, make = ValueError("mine"), together(2)
    error.add_note("theirs")
    flow = pipeline(parallel(a=make(error), b=make(error)))
    for _ in range(2):  # the object that all share is not written on, so nothing adds up
        members = group_of(flow)
        assert [(type(each), str(each)) for each in members] == [(ValueError, "mine")] * 2
        assert [each.__notes__ for each in members] == [
            ["theirs", "pipeline → step 1 'parallel' → branch 'a'"],
            ["theirs", "pipeline → step 1 'parallel' → branch 'b'"],
        ]
        assert all(each.__traceback__ for each in members)


def test_same_error_from_two_branches_when_it_cannot_be_copied_is_raised_itself() -> None:
    class Numbered(Exception):
        def __init__(self, number: int, reason: str) -> None:
            super().__init__(f"{number}: {reason}")

    error, make = Numbered(7, "mine"), together(2)
    assert group_of(parallel(a=make(error), b=make(error))) == [error, error]


@pytest.mark.parametrize("make", [parallel, parallel.sequential])
def test_what_has_not_begun_does_not_begin_after_a_failure(make: Any) -> None:
    begun: list[int] = []
    inputs = warp(lambda n: begun.append(n) or 1 / n, _concurrent=make is parallel)
    with pytest.raises(ZeroDivisionError):
        inputs(0, *range(1, 5000))
    assert len(begun) < 5000
    if make is parallel.sequential:
        assert begun == [0]


def test_what_runs_in_threads_is_waited_for() -> None:
    failed, ended = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        failed.wait(10)
        time.sleep(0.02)
        ended.set()

    def quick(_: object) -> None:
        failed.set()
        raise ValueError("mine")

    assert place_of(parallel(slow, quick), 1) == "parallel → branch 'quick'"
    assert ended.is_set()


@pytest.mark.parametrize("way", [True, "async"])
def test_running_coroutines_are_cancelled(way: Any) -> None:
    seen: list[str] = []
    sleeping = threading.Event()

    async def sleeper(_: object) -> None:
        sleeping.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def failing(_: object) -> None:
        while not sleeping.is_set():
            await asyncio.sleep(0)
        raise ValueError("mine")

    flow = parallel(sleeper, pipeline(failing), _concurrent=way)
    assert place_of(flow, 1) == "parallel → branch 'pipeline' → step 1 'failing'"
    assert seen == ["cancelled"]


def test_failing_thread_cancels_coroutines_beside_it() -> None:
    seen: list[str] = []

    async def sleeper(_: object) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    def failing(_: object) -> None:
        time.sleep(0.02)
        fail()

    assert place_of(parallel(sleeper, failing), 1) == "parallel → branch 'failing'"
    assert seen == ["cancelled"]


async def test_cancelling_a_call_cancels_its_branches() -> None:
    began, seen = asyncio.Event(), []

    async def sleeper(_: object) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("ended")

    task = asyncio.create_task(pipeline(parallel(sleeper, sleeper)).acall(1))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended", "ended"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("make", [parallel, parallel.sequential, pipeline])
def test_interrupt_passes_through_unchanged(interrupt: type[BaseException], make: Any) -> None:
    def branch(_: object) -> None:
        raise interrupt

    with pytest.raises(interrupt) as caught:
        pipeline(make(branch))(1)
    assert not hasattr(caught.value, "__notes__")


def test_interrupt_does_not_wait_for_branches() -> None:
    release = threading.Event()

    def interrupted(_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        parallel(interrupted, lambda _: release.wait(60))(1)
    release.set()


def test_interrupt_of_the_wait_begins_nothing_more() -> None:
    helped, ended, release = threading.Event(), threading.Event(), threading.Event()
    main = threading.get_ident()

    def branch(_: object) -> None:
        if threading.get_ident() == main:
            helped.wait(10)
            ended.set()
        else:
            helped.set()
            ended.wait(10)
            signal.pthread_kill(main, signal.SIGINT)
            release.wait(60)

    with pytest.raises(KeyboardInterrupt):
        parallel(branch, branch)(1)
    release.set()


def failing_pieces(*_: object) -> Iterator[int]:
    yield 1
    fail()


async def failing_apieces(*_: object) -> AsyncIterator[int]:
    yield 1
    fail()


@pytest.mark.parametrize(
    ("flow", "place"),
    [
        (pipeline(same, failing_pieces), "pipeline → step 2 'failing_pieces'"),
        (
            pipeline(same, pipeline(b=failing_pieces), post_action=same),
            "pipeline → step 2 'pipeline' → step 1 'b'",
        ),
        (switch(1, failing_pieces), "switch → case 1"),
    ],
)
def test_error_of_a_generator_that_leaves_a_flow_is_told_where_it_was_made(
    flow: Any, place: str
) -> None:
    pieces = flow(1)
    assert next(pieces) == 1
    with pytest.raises(ValueError) as caught:
        next(pieces)
    assert caught.value.__notes__ == [place]


def test_error_of_a_branch_s_generator_is_told_where_it_was_made() -> None:
    (pieces, _) = parallel(failing_pieces, same)(1)
    with pytest.raises(ValueError) as caught:
        list(pieces)
    assert caught.value.__notes__ == ["parallel → branch 'failing_pieces'"]


async def test_error_of_an_async_generator_that_leaves_a_flow_is_told_too() -> None:
    pieces = await pipeline(failing_apieces).acall(1)
    with pytest.raises(ValueError) as caught:
        _ = [piece async for piece in pieces]
    assert caught.value.__notes__ == ["pipeline → step 1 'failing_apieces'"]


def stop(*_: object) -> None:
    raise StopIteration


@pytest.mark.parametrize("flow", [pipeline(stop), parallel(stop, same), parallel(same, same, stop)])
async def test_stop_iteration_in_the_async_form_is_told_where_it_was(flow: Any) -> None:
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        await flow.acall(1)
    assert "'stop'" in caught.value.__notes__[0]
