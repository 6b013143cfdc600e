"""barrier: an item of a parallel's branches at which they wait for each other.

It cannot hang: whoever waits has seen to it that every branch is begun (`Batch.get_help`), and a
branch that ends without reaching the barrier releases those that wait there, with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from modcore.flow.batch import wait_for
from modcore.flow.errors import BarrierBroken, FlowError
from modcore.flow.interrupts import Latch
from modcore.flow.values import one_value

#: Is called once, with None when all have come, or with why they never will.
Release = Callable[[BarrierBroken | None], None]


class Meeting:
    """Where the `width` branches of one call of a parallel wait for each other, again and again."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._waiting: list[Release] = []
        self._broken: tuple[str, bool] | None = None

    def arrive(self, release: Release) -> None:
        """One branch is here."""
        with self._lock:
            self._waiting.append(release)
            complete = len(self._waiting) == self._width
            released = self._take() if complete or self._broken else []
            broken = self._broken
        self._release(released, broken)

    def leave(self, reason: str, *, failed: bool) -> None:
        """One branch has ended, or will never begin: nobody may wait for it any more."""
        with self._lock:
            self._broken = broken = self._broken or (reason, failed)
            released = self._take()
        self._release(released, broken)

    def _take(self) -> list[Release]:
        released, self._waiting = self._waiting, []
        return released

    def _release(self, released: list[Release], broken: tuple[str, bool] | None) -> None:
        for release in released:
            error = BarrierBroken(broken[0], because_of_failure=broken[1]) if broken else None
            release(error)


@dataclass(slots=True)
class Seat:
    """One branch's way to its meeting. `how` it runs says in which form it may wait."""

    meeting: Meeting
    how: Literal["thread", "task", "alone"]
    #: See to it that the branches not yet begun are, although this thread is about to wait.
    get_help: Callable[[], None]


#: The seat of the branch that runs here.
seat: ContextVar[Seat | None] = ContextVar("modcore_flow_seat", default=None)


class Barrier:
    """``parallel(pipeline(a, barrier, b), pipeline(c, barrier, d))``: b and d follow a and c.

    It hands on what it gets. Raises BarrierBroken when another branch fails or ends without
    reaching it, and FlowError where there is nothing to wait for.
    """

    __name__ = "barrier"
    # It waits in a thread as well as on a loop, so it does not pull its branch onto the loop.
    _fits_threads = True

    def __call__(self, *args: Any) -> Any:
        """Wait in this thread."""
        here = self._seat()
        if here.how == "task":
            raise FlowError(
                "a barrier was called by a plain function on an event loop, which it would block "
                "for those it waits for: make it an item of the flow, or await barrier.acall()"
            )
        released = Latch()
        outcome: list[BarrierBroken | None] = []

        def release(error: BarrierBroken | None) -> None:
            outcome.append(error)
            released.set()

        here.meeting.arrive(release)
        if not released.is_set:
            here.get_help()
            wait_for(released)
        return _handed_on(args, outcome[0])

    async def acall(self, *args: Any) -> Any:
        """Wait in this task."""
        here = self._seat()
        loop = asyncio.get_running_loop()
        released: asyncio.Future[BarrierBroken | None] = loop.create_future()

        def settle(error: BarrierBroken | None) -> None:
            if not released.done():
                released.set_result(error)

        def release(error: BarrierBroken | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, error)

        here.meeting.arrive(release)
        here.get_help()
        return _handed_on(args, await released)

    def _seat(self) -> Seat:
        here = seat.get()
        if here is None:
            raise FlowError(
                "a barrier was reached outside the branches of a parallel, or in another process: "
                "there is nobody to wait for (as an item it is written without brackets: barrier)"
            )
        if here.how == "alone":
            raise FlowError("a barrier in a parallel whose branches run one after the other")
        return here

    def __reduce__(self) -> str:
        return "barrier"


def _handed_on(args: tuple[Any, ...], broken: BarrierBroken | None) -> Any:
    if broken is not None:
        raise broken
    return one_value(args)


barrier = Barrier()
