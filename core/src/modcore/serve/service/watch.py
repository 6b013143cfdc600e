"""What may end a call before the module does: its deadline, its caller, the service's own end."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from modcore.serve.caller_gone import CallerGone
from modcore.serve.service.http import Refused

#: Looking for a caller who hangs up costs as much as a short call: only longer ones are watched.
WATCH_AFTER = 0.01


def deadline_exceeded() -> Refused:
    """The call's time is over."""
    return Refused(504, "DeadlineExceeded", "The call took longer than its deadline.")


def stopped() -> Refused:
    """The service ends in the middle of a call."""
    return Refused(503, "Draining", "The service was stopped before the call had ended.")


class Watch:
    """A context in which the current task is cancelled when its call is to end.

    Leaving it raises the reason: Refused (deadline, the service's end) or CallerGone.
    """

    __slots__ = ("_gone", "_loop", "_receive", "_task", "_timers", "reason")

    def __init__(self, receive: Receive, seconds: float | None) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Task[None] | None = None
        self._timers = [self._loop.call_later(WATCH_AFTER, self._watch_caller)]
        if seconds is not None:
            self._timers.append(self._loop.call_later(max(seconds, 0), self._expire))
        self.reason: Refused | CallerGone | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        return self

    def end(self, reason: Refused | CallerGone) -> None:
        """End the call for `reason`, unless it has ended."""
        if self.reason is None and self._task is not None:
            self.reason = reason
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        for timer in self._timers:
            timer.cancel()
        if self._gone is not None:
            self._gone.cancel()
        if self.reason is not None and task is not None:
            task.uncancel()
            raise self.reason from None

    def _expire(self) -> None:
        self.end(deadline_exceeded())

    def _watch_caller(self) -> None:
        self._gone = self._loop.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end(CallerGone())
