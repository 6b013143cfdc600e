"""The client on the other side of a call: it may go away, and its time may run out."""

from __future__ import annotations

import asyncio
from types import TracebackType

from modcore.serve.caller_gone import CallerGone
from modcore.serve.front_door.refusals import Refusal
from modcore.serve.front_door.request import Request

#: Seconds in which most answers have come.
_AT_ONCE = 0.01


class Waiting:
    """While it is entered, the current task ends when the client goes away or the time is up.

    That is at `until`, by the event loop's clock: as the request says, `most` seconds at most. It may be
    entered again, for the next part of a call.

    `stop` ends it for another reason. `watch` is for when the body has been taken: what comes next is then
    that the client is gone. Most answers come at once, so it begins only when one does not.
    """

    def __init__(self, request: Request, most: float) -> None:
        self._receive = request.receive
        self._seconds = request.seconds(most)
        self.until = request.arrived + self._seconds
        self._reason: Exception | None = None
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._may_watch = self._is_slow = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Waiting:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_AT_ONCE, self._slow)
        return self

    def watch(self) -> None:
        """Notice from now on when the client goes away."""
        self._may_watch = True
        if self._is_slow and self._watch is None:
            self._watch = asyncio.ensure_future(self._until_gone())
            self._watch.add_done_callback(self._gone)

    def stop(self, reason: Exception) -> None:
        """End the task with `reason`, the first time that it waits for something."""
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._task and self._timer
        task, self._task = self._task, None
        self._timer.cancel()
        if self._watch is not None:
            self._watch.remove_done_callback(self._gone)
            self._watch.cancel()
        if self._reason is not None:
            cancelled_by_others = task.uncancel()
            if (
                kind is not None
                and issubclass(kind, asyncio.CancelledError)
                and not cancelled_by_others
            ):
                raise self._reason from None

    def _slow(self) -> None:
        self._is_slow = True
        self._timer = asyncio.get_running_loop().call_at(self.until, self._too_late)
        if self._may_watch:
            self.watch()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # what still comes of a body that is not wanted any more

    def _gone(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled():
            watch.exception()  # whatever it is, nobody listens any more
            self.stop(CallerGone())

    def _too_late(self) -> None:
        self.stop(
            Refusal(
                504,
                f"There was no complete answer within {self._seconds:g} s.",
                code="deadline",
            )
        )
