"""Running the branches of a flow side by side: in threads, tasks or processes, or in turn.

Every way takes calls and returns their results in order. After a failure nothing more is begun and
running coroutines are cancelled; when all that runs has ended, what failed is raised: the exception
itself where it is one, an ExceptionGroup where there are several. When the call itself is interrupted
or cancelled, so is all that runs; what blocks is left behind, and named in a note.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from modcore.flow.barrier import Meeting, Seat, seat
from modcore.flow.batch import Batch, run_with_helpers
from modcore.flow.calls import Call
from modcore.flow.errors import BarrierBroken
from modcore.flow.interrupts import blocks
from modcore.flow.places import copy_of


class Branch:
    """One call, in its own copy of the caller's context, and with its seat there if it has one."""

    def __init__(self, call: Call, place: Seat | None) -> None:
        self.call, self._seat = call, place
        self.context = contextvars.copy_context()
        # Set from outside, since a task may be cancelled before its first line runs.
        self.context.run(seat.set, place)

    def run(self) -> Any:
        """The sync form."""
        try:
            result = self.context.run(self.call.run)
        except BaseException:
            self._leave("failed")
            raise
        self._leave("ended without reaching the barrier")
        return result

    async def arun(self) -> Any:
        """The async form; to be run in `context`."""
        try:
            result = await self.call.arun()
        except BaseException:
            self._leave("failed")
            raise
        self._leave("ended without reaching the barrier")
        return result

    def _leave(self, how: str) -> None:
        if self._seat is not None:
            self._seat.meeting.leave(f"{self.call.part} {how}", failed=how == "failed")


def in_turn(kind: str, calls: Sequence[Call]) -> list[Any]:
    """One after the other, in this thread."""
    results = []
    for call in calls:
        try:
            results.append(_alone(call, len(calls)).run())
        except Exception as error:
            call.failed(error, kind)
            raise
    return results


async def ain_turn(kind: str, calls: Sequence[Call]) -> list[Any]:
    """One after the other, in the async form."""
    results = []
    for call in calls:
        branch = _alone(call, len(calls))
        try:
            # A task of its own, for the sake of its own context.
            task = asyncio.get_running_loop().create_task(branch.arun(), context=branch.context)
            results.append(await task)
        except Exception as error:
            call.failed(error, kind)
            raise
    return results


def _alone(call: Call, width: int) -> Branch:
    return Branch(call, Seat(Meeting(width), "thread" if width == 1 else "alone", _no_help))


def _no_help() -> None:
    """Nobody is needed: all branches are begun, or there is only one."""


def in_threads(kind: str, calls: Sequence[Call]) -> list[Any]:
    """In this thread and as many others as there are branches."""
    if not calls:
        return []
    meeting = Meeting(len(calls))
    place = Seat(meeting, "thread", lambda: batch.get_help())
    branches = [Branch(call, place) for call in calls]
    batch = Batch([branch.run for branch in branches])
    try:
        run_with_helpers(batch)
    except BaseException as error:
        meeting.leave("the call was interrupted", failed=True)
        note_blocked(error, kind, calls, batch.give_up())
        raise
    return results_of(kind, calls, batch.results, batch.failures)


async def in_tasks(
    kind: str, calls: Sequence[Call], on_loop: Callable[[Any], bool], *, meet: bool = True
) -> list[Any]:
    """Those that `on_loop` is true of as tasks of the running loop, the others in threads.

    Without `meet` they are no branches of one parallel, and a barrier in them is an error.
    """
    return await _TasksAndThreads(kind, calls, on_loop, meet).run()


class _TasksAndThreads:
    """Branches of which some are tasks and some run in threads."""

    def __init__(
        self, kind: str, calls: Sequence[Call], on_loop: Callable[[Any], bool], meet: bool
    ) -> None:
        self._kind, self._calls, self._meet = kind, calls, meet
        self._loop = asyncio.get_running_loop()
        self._meeting = Meeting(len(calls))
        self._threads_ended = asyncio.Event()
        self._stopped = False
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._in_threads: list[int] = []
        thread_runs = []
        for number, call in enumerate(calls):
            if on_loop(call.function):
                self._tasks[number] = self._task(call)
            else:
                self._in_threads.append(number)
                thread_runs.append(self._branch(call, "thread").run)
        self._batch = Batch(
            thread_runs,
            on_failure=lambda: self._tell(self._stop),
            on_end=lambda: self._tell(self._threads_ended.set),
        )

    def _branch(self, call: Call, how: Literal["thread", "task"]) -> Branch:
        if not self._meet:
            return Branch(call, None)
        return Branch(call, Seat(self._meeting, how, lambda: self._batch.get_help()))

    def _task(self, call: Call) -> asyncio.Task[Any]:
        branch = self._branch(call, "task")
        task = self._loop.create_task(branch.arun(), context=branch.context)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._stop()

    def _tell(self, what: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)

    def _stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._batch.stop()
        self._meeting.leave("another branch failed", failed=True)
        for task in self._tasks.values():
            task.cancel()

    async def run(self) -> list[Any]:
        """The results, or what failed."""
        try:
            self._batch.start()
            if self._tasks:
                await asyncio.wait(self._tasks.values())
            if self._in_threads:
                await self._threads_ended.wait()
        except BaseException as error:  # this call is cancelled: so are its branches
            self._stop()
            self._batch.interrupt()
            await self._wait_for_tasks()
            blocked = [self._in_threads[number] for number in await self._batch.agive_up()]
            note_blocked(error, self._kind, self._calls, blocked)
            raise
        return results_of(self._kind, self._calls, *self._outcomes())

    async def _wait_for_tasks(self) -> None:
        """Until the tasks have ended, however often this call is cancelled."""
        while left := [task for task in self._tasks.values() if not task.done()]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(left)

    def _outcomes(self) -> tuple[dict[int, Any], dict[int, BaseException]]:
        numbers = self._in_threads
        results = {numbers[at]: each for at, each in self._batch.results.items()}
        failures = {numbers[at]: _raisable(each) for at, each in self._batch.failures.items()}
        for number, task in self._tasks.items():
            if task.cancelled():
                continue
            if (error := task.exception()) is not None:
                failures[number] = error
            else:
                results[number] = task.result()
        if not failures and len(results) < len(self._calls):
            raise asyncio.CancelledError  # a branch was cancelled, by none of us
        return results, failures


def _raisable(error: BaseException) -> BaseException:
    """`error` as a coroutine can raise it; Python would make another of a StopIteration, without notes."""
    if not isinstance(error, StopIteration):
        return error
    raisable = RuntimeError("a branch raised StopIteration")
    raisable.__cause__ = error
    return raisable


def note_blocked(
    error: BaseException, kind: str, calls: Sequence[Call], blocked: Sequence[int]
) -> None:
    """Say on `error` which branches could not be interrupted."""
    for number in blocked:
        error.add_note(blocks(f"{kind}, {calls[number].part},"))


def results_of(
    kind: str,
    calls: Sequence[Call],
    results: Mapping[int, Any],
    failures: Mapping[int, BaseException],
) -> list[Any]:
    """The results in the order of the calls; raises what failed, each told where it was."""
    if failures:
        raise _error_of(kind, calls, failures)
    return [results[number] for number in range(len(calls))]


def _error_of(
    kind: str, calls: Sequence[Call], failures: Mapping[int, BaseException]
) -> BaseException:
    raised = Counter(map(id, failures.values()))
    errors: list[Exception] = []
    for number, error in sorted(failures.items()):
        if not isinstance(error, Exception):
            return error
        if raised[id(error)] > 1:  # a future that several wait for raises one object in all of them
            error = copy_of(error)
        calls[number].failed(error, kind)
        errors.append(error)
    # Who only waited for a branch that failed has nothing to say that its error does not.
    causes = [e for e in errors if not (isinstance(e, BarrierBroken) and e.because_of_failure)]
    errors = causes or errors
    if len(errors) == 1:
        return errors[0]
    return ExceptionGroup(f"{len(errors)} of {len(calls)} branches of {kind} failed", errors)
