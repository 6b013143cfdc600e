"""Training, deploying and evaluating a whole tree of modules.

All training, then all deployment, then all evaluation; within each, children before parents, each
module once; services that find each other by name are deployed at once. The first failure ends it: what this call has deployed is stopped, in reverse order, the
states say what happened, and the error goes on with its type and a note with the module's path.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from modcore.module.at_once import all_ended
from modcore.module.deadline import Cancelled, Deadline
from modcore.module.deploying import Node, addressed, deploy_at_once, stopped_together
from modcore.module.interruptible import finished
from modcore.module.progress import progress
from modcore.module.state import Outcome, Step
from modcore.module.submodules import children_first, deployed_here

if TYPE_CHECKING:
    from modcore.module.base import ModuleBase

_VERBS = {"train": "training", "deploy": "deploying", "eval": "evaluating"}

#: What one module's `stop` may take when an update is undone, in seconds.
STOP_SECONDS = 15.0

#: Set while one module alone is meant: its `stop` then leaves what is below it alone.
_alone: ContextVar[bool] = ContextVar("modcore_module_alone", default=False)


def run(
    root: ModuleBase,
    steps: Sequence[Step],
    *,
    recursive: bool = True,
    timeout: float | None = None,
    train_jobs: int = 1,
    cancelled: threading.Event | None = None,
) -> None:
    """Take `steps` for `root`, and all that it holds when `recursive`.

    Once `cancelled` is set, what runs is interrupted, nothing more is begun, and what was deployed is
    stopped.
    """
    if type(train_jobs) is not int or train_jobs < 1:
        raise ValueError(f"train_jobs is {train_jobs!r}; it has to be a whole number from 1 on.")
    deadline = Deadline(timeout, cancelled)
    deployed: list[Node] = []
    services: frozenset[int] = frozenset()
    try:
        for step in steps:
            # Walked anew for each step: training may have added modules.
            walk = deployed_here if step == "deploy" else children_first
            nodes = walk(root) if recursive else walk(root)[-1:]
            services = addressed(nodes) if step == "deploy" else services
            todo = [node for node in nodes if not _is_skipped(node[1], step)]
            do = functools.partial(take, step, deadline=deadline, deployed=deployed)
            if step == "train" and train_jobs > 1:
                _train_together(todo, train_jobs, do, deadline)
            elif step == "deploy":
                deploy_at_once(todo, services, do, deadline)
            else:
                for node in todo:
                    do(node)
            if step != "eval":
                _forget_answers(nodes)
    except BaseException as error:
        _take_down(deployed, services, error)
        raise


def _train_together(
    nodes: Sequence[Node], jobs: int, train: Callable[[Node], None], deadline: Deadline
) -> None:
    from modcore.module.together import train_together

    try:
        train_together(nodes, jobs, train)
    except ExceptionGroup as several:
        raise deadline.as_one(several) or several from None


def stop_below(root: ModuleBase) -> None:
    """Stop everything that `root` holds, each once, parents first; services that do not hold each other at once.

    What one raises, an interrupt too, is raised when all have had their turn; several errors as an
    ExceptionGroup.
    """
    failures: list[BaseException] = []
    for nodes in stopped_together(_below(root)):
        try:
            all_ended([functools.partial(_stop, node, failures) for node in nodes])
        except BaseException as error:
            failures.append(error)
    _raise(failures)


def _stop(node: Node, failures: list[BaseException]) -> None:
    try:
        node[1].stop()
    except BaseException as error:
        error.add_note(f"while stopping {node[0]}")
        failures.append(error)


def wait_below(root: ModuleBase) -> None:
    """Wait for everything that `root` holds, each once, parents first."""
    for _, module in _below(root):
        module.wait()


def _below(root: ModuleBase) -> Iterator[Node]:
    """What `root` holds; meanwhile a module's own `stop` or `wait` does not go down by itself."""
    if _alone.get():
        return
    nodes = children_first(root, allow_cycles=True)[:-1]
    token = _alone.set(True)
    try:
        yield from reversed(nodes)
    finally:
        _alone.reset(token)


def _raise(failures: Sequence[BaseException]) -> None:
    """Raise what has failed; what ends everything goes before all errors."""
    errors = [error for error in failures if isinstance(error, Exception)]
    if len(errors) == len(failures) > 1:
        raise ExceptionGroup("several modules could not be stopped", errors)
    for error in failures:
        if len(failures) == 1 or not isinstance(error, Exception):
            raise error


def _is_skipped(module: ModuleBase, step: Step) -> bool:
    if step in module._skipped:
        module.state.record(step, "skipped")
        return True
    return False


def take(step: Step, node: Node, deadline: Deadline, deployed: list[Node]) -> None:
    """One step of one module; one that deploys is added to `deployed` before it begins."""
    path, module = node
    state = module.state

    def work() -> Outcome:
        task = _task(step, module)
        if task is None:
            return "none"
        if step == "deploy":
            deployed.append(node)
        state.record(step, "running")
        silent = step == "train" and module.shows_progress
        with nullcontext() if silent else progress(f"{_VERBS[step]} {path}"):
            finished(task())
        return "done"

    try:
        state.record(step, deadline.call(work, f"{_VERBS[step]} {path}"))
    except BaseException as error:
        interrupted = isinstance(error, Cancelled) or not isinstance(error, Exception)
        state.record(step, "interrupted" if interrupted else "failed", error)
        error.add_note(f"while {_VERBS[step]} {path}")
        raise


def _task(step: Step, module: ModuleBase) -> Callable[[], object] | None:
    if step == "train":
        return module._get_train_tasks()
    if step == "deploy":
        return module._get_deploy_tasks()
    return module._evaluate if module._evalset is not None else None


def _take_down(nodes: Sequence[Node], services: frozenset[int], error: BaseException) -> None:
    """Stop modules, and no others: `services` all at once, then the others in reverse.

    One that cannot be stopped holds nobody else up; it is named in a note on `error`.
    """
    token = _alone.set(True)
    try:
        at_once = [node for node in nodes if id(node[1]) in services]
        all_ended([functools.partial(_take_down_one, node, error) for node in at_once])
        for node in reversed(nodes):
            if node not in at_once:
                _take_down_one(node, error)
    finally:
        _alone.reset(token)


def _take_down_one(node: Node, error: BaseException) -> None:
    path, module = node
    try:
        Deadline(STOP_SECONDS).call(module.stop, f"stopping {path}")
    except BaseException as failure:
        module.state.error = module.state.error or failure
        error.add_note(f"{path} could not be stopped: {failure!r}")


def _forget_answers(nodes: Sequence[Node]) -> None:
    """What was learnt or deployed makes other answers than those that are kept."""
    for _, module in nodes:
        if module._extras is not None and module._extras.cache is not None:
            module._extras.cache.clear()
