"""Tasks that run at once, each in a thread: the first failure ends the others, and so does an interrupt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from modcore.flow.interrupts import blocks
from modcore.module.interruptible import GRACE, HEARTBEAT, InterruptibleTask

#: Seconds after a failure in which others may tell theirs: what they have in common shows at about the same time.
GATHER = 0.1


class AtOnce:
    """Tasks that have been begun; `wait` for them raises what failed, several as an ExceptionGroup.

    `what` names them in that group's message: ``services``. After a failure the others get `patience`, in
    seconds, before they are interrupted.
    """

    def __init__(self, what: str, patience: Callable[[], float] = lambda: GATHER) -> None:
        self._what, self._patience = what, patience
        self._begun = 0
        self._running: dict[InterruptibleTask, str] = {}
        self._failures: list[Exception] = []

    def start(self, label: str, task: Callable[[], object]) -> InterruptibleTask:
        """Begin `task`; `label` says what it does: ``deploying Worker``."""
        running = InterruptibleTask(task, label)
        self._running[running] = label
        self._begun += 1
        running.start()
        return running

    def wait(self, tasks: Iterable[InterruptibleTask] | None = None) -> None:
        """Wait until all have ended, or `tasks`; a failure of any is raised all the same."""
        awaited = None if tasks is None else set(tasks)
        try:
            while not self._failures and (
                self._running if awaited is None else awaited & self._running.keys()
            ):
                self._look()
            if self._failures:
                self._gather()
        except BaseException as error:
            self.give_up(error)
            raise
        if len(self._failures) == 1:
            raise self._failures[0]
        if self._failures:
            raise ExceptionGroup(
                f"{len(self._failures)} of {self._begun} {self._what} failed", self._failures
            )

    def give_up(self, error: BaseException) -> None:
        """Interrupt all that runs; what cannot be is named in a note on `error`.

        An interrupt is also told what it has met; a failure is not: it has nothing to do with the others.
        """
        for task in self._running:
            task.interrupt()
        told = {f"while {label}" for label in self._running.values()}
        if not isinstance(error, Exception):
            told.clear()
        told.update(getattr(error, "__notes__", ()))
        end = time.monotonic() + GRACE
        for task, label in self._running.items():
            ended = task.wait(max(0.0, end - time.monotonic()))
            for note in task.notes if ended else [blocks(label)]:
                if note not in told:
                    error.add_note(note)
                    told.add(note)
        self._running.clear()

    def _look(self) -> None:
        """Look who has ended, for a moment; what ends everything is raised."""
        for task in [task for task in self._running if task.wait(HEARTBEAT / len(self._running))]:
            del self._running[task]
            try:
                task.result()
            except Exception as error:
                self._failures.append(error)

    def _gather(self) -> None:
        end = time.monotonic() + self._patience()
        while self._running and time.monotonic() < end:
            self._look()
        self.give_up(self._failures[0])


def all_ended(tasks: Sequence[Callable[[], object]]) -> None:
    """Run `tasks`, which raise nothing, at once, each to its end; an interrupt of the wait interrupts them."""
    if len(tasks) == 1:
        tasks[0]()
        return
    running = [InterruptibleTask(task, f"task {number}") for number, task in enumerate(tasks)]
    for task in running:
        task.start()
    try:
        for task in running:
            while not task.wait(HEARTBEAT):
                pass
    except BaseException:
        for task in running:
            task.interrupt()
        for task in running:
            task.wait(GRACE)
        raise
