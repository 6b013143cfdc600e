"""What ends a call before its answer is there, and what its task sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import pytest

from modcore.serve.call_watch import AT_ONCE, CallWatch
from modcore.serve.caller_gone import CallerGone


class Stopped(Exception):
    """Somebody has stopped the call."""


class Late(Exception):
    """Its time is up."""


class Caller:
    """The caller's side of a connection: `receive` is what a server gives to an application."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receive = self.messages.get

    def hang_up(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


@pytest.fixture
async def caller() -> Caller:
    return Caller()


async def for_ever() -> None:
    await asyncio.Event().wait()


async def slow_enough_to_be_watched() -> None:
    await asyncio.sleep(2 * AT_ONCE)


async def test_call_that_ends_in_time_is_left_alone(caller: Caller) -> None:
    with CallWatch(caller.receive, 60, Late) as watch:
        watch.mind_caller()
        await slow_enough_to_be_watched()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_short_call_costs_no_task(caller: Caller) -> None:
    with CallWatch(caller.receive) as watch:
        watch.mind_caller()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1


async def test_no_task_is_left_behind(caller: Caller) -> None:
    with CallWatch(caller.receive) as watch:
        watch.mind_caller()
        await slow_enough_to_be_watched()
        assert len(asyncio.all_tasks()) == 2
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_caller_who_hangs_up_ends_the_call(caller: Caller) -> None:
    with pytest.raises(CallerGone), CallWatch(caller.receive) as watch:
        watch.mind_caller()
        caller.hang_up()
        await for_ever()


async def test_what_comes_before_the_caller_hangs_up_is_passed_over(caller: Caller) -> None:
    caller.messages.put_nowait({"type": "http.request", "body": b"nobody wants it"})
    caller.hang_up()
    with pytest.raises(CallerGone), CallWatch(caller.receive) as watch:
        watch.mind_caller()
        await for_ever()


async def test_caller_whose_connection_breaks_is_gone() -> None:
    async def broken() -> Any:
        raise ConnectionResetError

    with pytest.raises(CallerGone), CallWatch(broken) as watch:
        watch.mind_caller()
        await for_ever()


async def test_caller_is_minded_at_once_in_a_call_that_is_slow_already(caller: Caller) -> None:
    caller.hang_up()
    with pytest.raises(CallerGone), CallWatch(caller.receive) as watch:
        await slow_enough_to_be_watched()
        watch.mind_caller()
        await for_ever()


async def test_body_is_the_applications_until_the_caller_is_minded(caller: Caller) -> None:
    with CallWatch(caller.receive):
        await slow_enough_to_be_watched()
        caller.messages.put_nowait({"type": "http.request", "body": b"some of it"})
        assert (await caller.receive())["body"] == b"some of it"


@pytest.mark.parametrize("seconds", [-1.0, 0.0, AT_ONCE / 5, 3 * AT_ONCE])
async def test_call_ends_when_its_time_is_up(caller: Caller, seconds: float) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(Late), CallWatch(caller.receive, seconds, Late):
            await for_ever()


async def test_call_without_a_deadline_may_take_for_ever(caller: Caller) -> None:
    with CallWatch(caller.receive, math.inf, Late):
        await slow_enough_to_be_watched()


async def test_somebody_may_end_it_and_the_first_reason_counts(caller: Caller) -> None:
    with pytest.raises(Stopped), CallWatch(caller.receive) as watch:
        watch.end(Stopped())
        watch.end(CallerGone())
        await for_ever()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_ending_what_is_over_or_has_not_begun_does_nothing(caller: Caller) -> None:
    watch = CallWatch(caller.receive)
    watch.end(Stopped())
    with watch:
        await asyncio.sleep(0)
    watch.end(Stopped())
    await asyncio.sleep(0)


async def test_next_part_of_a_call_has_the_same_deadline(caller: Caller) -> None:
    watch = CallWatch(caller.receive, 3 * AT_ONCE, Late)
    with watch:
        pass
    with pytest.raises(Late), watch:
        await for_ever()


async def test_caller_is_minded_in_the_next_part_as_well(caller: Caller) -> None:
    watch = CallWatch(caller.receive)
    with watch:
        watch.mind_caller()
        await slow_enough_to_be_watched()
    caller.hang_up()
    with pytest.raises(CallerGone), watch:
        await for_ever()


async def test_reason_is_raised_whatever_the_block_makes_of_being_cancelled(
    caller: Caller,
) -> None:
    with pytest.raises(Stopped), CallWatch(caller.receive) as watch:
        watch.end(Stopped())
        with contextlib.suppress(asyncio.CancelledError):
            await for_ever()
    with pytest.raises(Stopped), CallWatch(caller.receive) as watch:
        watch.end(Stopped())
        try:
            await for_ever()
        except asyncio.CancelledError:
            raise ValueError from None


async def test_task_that_others_cancel_stays_cancelled(caller: Caller) -> None:
    entered = asyncio.Event()

    async def call(reason: Exception | None) -> None:
        with CallWatch(caller.receive) as watch:
            if reason is not None:
                watch.end(reason)
            entered.set()
            await for_ever()

    for reason in (None, Stopped()):
        entered.clear()
        task = asyncio.create_task(call(reason))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
