"""What may end a call before its answer is there: its caller, its deadline, or somebody who stops it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive

from modcore.serve.caller_gone import CallerGone

#: Seconds in which most answers have come: a task that waits for a caller to hang up costs as much as a short call.
AT_ONCE = 0.01


class CallWatch:
    """A context in which the current task is cancelled when its call is to end; leaving it raises the reason.

    That is CallerGone, what `late` makes when the call's `seconds` are over, or what `end` is given; the first
    of them counts. A task that others cancel as well stays cancelled.

    The context may be entered again, for the next part of the call. `until` is its end by the event loop's clock.
    """

    __slots__ = (
        "_hearing",
        "_is_slow",
        "_late",
        "_loop",
        "_minds_caller",
        "_reason",
        "_receive",
        "_soon",
        "_task",
        "_timer",
        "until",
    )

    def __init__(
        self,
        receive: Receive,
        seconds: float = math.inf,
        late: Callable[[], Exception] = TimeoutError,
    ) -> None:
        self._receive, self._late = receive, late
        self._loop = asyncio.get_running_loop()
        self.until = self._loop.time() + seconds
        self._soon = min(AT_ONCE, seconds)
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._reason: Exception | None = None
        self._minds_caller = self._is_slow = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = self._loop.call_later(self._soon, self._slow)
        return self

    def mind_caller(self) -> None:
        """Notice from now on when the caller hangs up: the body has been read, nothing else is to come."""
        self._minds_caller = True
        if self._is_slow and self._hearing is None:
            self._hearing = self._loop.create_task(self._until_gone())

    def end(self, reason: Exception) -> None:
        """End the call for `reason` where it waits next, unless it is ending or has ended."""
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        assert task is not None and self._timer is not None
        self._timer.cancel()
        if self._hearing is not None:
            self._hearing.cancel()
            self._hearing = None
        if self._reason is not None:
            is_cancelled_by_others = task.uncancel() > 0
            if not (is_cancelled_by_others and isinstance(error, asyncio.CancelledError)):
                raise self._reason from None

    def _slow(self) -> None:
        self._is_slow = True
        self._timer = self._loop.call_at(self.until, self._expire)
        if self._minds_caller:
            self.mind_caller()

    def _expire(self) -> None:
        self.end(self._late())

    async def _until_gone(self) -> None:
        with contextlib.suppress(Exception):  # nobody is at the end of a broken connection either
            while (await self._receive())["type"] != "http.disconnect":
                pass  # what still comes of a body that is not wanted any more
        self.end(CallerGone())
