"""Training several modules at once: none begins before those that it holds are done."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from modcore.flow.interrupts import blocks
from modcore.module.interruptible import GRACE, HEARTBEAT, InterruptibleTask

if TYPE_CHECKING:
    from modcore.module.deploying import Node


def train_together(nodes: Sequence[Node], jobs: int, train: Callable[[Node], None]) -> None:
    """Call `train` for each of `nodes`, up to `jobs` at once; they come children first.

    After a failure nothing more is begun, and what runs is waited for; several failures are raised
    as an ExceptionGroup. An interrupt of this call interrupts what runs.
    """
    plan = _Plan(nodes)
    running: dict[InterruptibleTask, Node] = {}
    failures: list[Exception] = []
    try:
        while running or (plan.ready and not failures):
            while plan.ready and len(running) < jobs and not failures:
                node = plan.ready.pop(0)
                task = InterruptibleTask(functools.partial(train, node), f"training {node[0]}")
                running[task] = node
                task.start()
            for task in [task for task in running if task.wait(HEARTBEAT / len(running))]:
                plan.done(running.pop(task))
                failures.extend(_failure(task))
    except BaseException as error:
        _give_up(running, error)
        raise
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("several trainings failed", failures)


def _failure(task: InterruptibleTask) -> list[Exception]:
    """What `task` failed with, if it did; what ends everything is raised."""
    try:
        task.result()
    except Exception as error:
        return [error]
    return []


def _give_up(running: Mapping[InterruptibleTask, Node], error: BaseException) -> None:
    for task in running:
        task.interrupt()
    for task, (path, module) in running.items():
        for note in task.notes if task.wait(GRACE) else [blocks(f"training {path}")]:
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        if not task.has_succeeded:
            module.state.record("train", "interrupted", error)


class _Plan:
    """Which modules may begin, as those that they hold are done."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        among = {id(module): (path, module) for path, module in nodes}
        self._waits_for: dict[int, int] = {}
        self._parents: dict[int, list[Node]] = {number: [] for number in among}
        for node in nodes:
            held = [id(child) for child in node[1].submodules if id(child) in among]
            self._waits_for[id(node[1])] = len(held)
            for child in held:
                self._parents[child].append(node)
        self.ready = [node for node in nodes if not self._waits_for[id(node[1])]]

    def done(self, node: Node) -> None:
        """Let those begin that waited for this one last."""
        for parent in self._parents[id(node[1])]:
            self._waits_for[id(parent[1])] -= 1
            if not self._waits_for[id(parent[1])]:
                self.ready.append(parent)
