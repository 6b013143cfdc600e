"""Training several modules at once: none begins before those that it holds are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modcore.module.lifecycle import Node


def train_together(nodes: Sequence[Node], jobs: int, train: Callable[[Node], None]) -> None:
    """Call `train` for each of `nodes`, up to `jobs` at once; they come children first.

    After a failure nothing more is begun, and what runs is waited for; several failures are raised
    as an ExceptionGroup. An interrupt is not held up by what runs.
    """
    plan = _Plan(nodes)
    running: dict[Future[None], Node] = {}
    failures: list[Exception] = []
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="train")
    try:
        while running or (plan.ready and not failures):
            while plan.ready and len(running) < jobs and not failures:
                node = plan.ready.pop(0)
                running[pool.submit(train, node)] = node
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                node = running.pop(future)
                error = future.exception()
                if isinstance(error, Exception):
                    failures.append(error)
                elif error is not None:
                    raise error
                else:
                    plan.done(node)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("several trainings failed", failures)


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
