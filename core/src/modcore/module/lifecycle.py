"""Training, deploying and evaluating a whole tree of modules.

All training, then all deployment, then all evaluation; within each, children before parents, each
module once. The first failure ends it: what this call has deployed is stopped, in reverse order, the
states say what happened, and the error goes on with its type and a note with the module's path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from typing import TYPE_CHECKING

from modcore.module.deadline import Deadline
from modcore.module.progress import progress
from modcore.module.state import Step
from modcore.module.submodules import children_first

if TYPE_CHECKING:
    from modcore.module.base import ModuleBase

#: A module and its path from the root.
Node = tuple[str, "ModuleBase"]

tree_of = children_first

_VERBS = {"train": "training", "deploy": "deploying", "eval": "evaluating"}


def run(
    root: ModuleBase,
    steps: Sequence[Step],
    *,
    recursive: bool = True,
    timeout: float | None = None,
    train_jobs: int = 1,
) -> None:
    """Take `steps` for `root`, and all that it holds when `recursive`."""
    nodes = children_first(root)
    if not recursive:
        nodes = nodes[-1:]
    if train_jobs < 1:
        raise ValueError(f"train_jobs is {train_jobs}; it has to be at least 1.")
    deadline = Deadline(timeout)
    deployed: list[ModuleBase] = []
    try:
        for step in steps:
            todo = [(path, module) for path, module in nodes if not _is_skipped(module, step)]
            if step == "train" and train_jobs > 1:
                _train_together(todo, train_jobs, deadline)
                continue
            for path, module in todo:
                _take(step, path, module, deadline)
                if step == "deploy":
                    deployed.append(module)
    except BaseException:
        _take_down(deployed)
        raise


def _is_skipped(module: ModuleBase, step: Step) -> bool:
    if step in module._skipped:
        module.state.record(step, "skipped")
        return True
    return False


def _take(step: Step, path: str, module: ModuleBase, deadline: Deadline) -> None:
    """One step of one module."""
    state = module.state
    try:
        task = _task(step, module)
        if task is None:
            state.record(step, "none")
            return
        state.record(step, "running")
        silent = step == "train" and module.shows_progress
        with nullcontext() if silent else progress(f"{_VERBS[step]} {path}"):
            deadline.call(task, f"{_VERBS[step]} {path}")
    except BaseException as error:
        interrupted = not isinstance(error, Exception)
        state.record(step, "interrupted" if interrupted else "failed", error)
        error.add_note(f"while {_VERBS[step]} {path}")
        if step == "deploy":
            _take_down([module])
        raise
    state.record(step, "done")


def _task(step: Step, module: ModuleBase) -> Callable[[], object] | None:
    if step == "train":
        return module._get_train_tasks()
    if step == "deploy":
        return module._get_deploy_tasks()
    return module._evaluate if module._evalset is not None else None


def _take_down(modules: Sequence[ModuleBase]) -> None:
    """Stop modules in reverse order; one that does not let itself be stopped holds nobody else up."""
    for module in reversed(modules):
        outcome, error = module.state.deploy, module.state.error
        try:
            module.stop()
        except Exception as failure:
            module.state.error = failure
        else:
            if outcome == "failed":
                module.state.record("deploy", "failed", error)


def _train_together(nodes: Sequence[Node], jobs: int, deadline: Deadline) -> None:
    """Train up to `jobs` modules at once; none begins before those that it holds are done."""
    waiting = {id(module): _held(module, nodes) for _, module in nodes}
    todo = list(nodes)
    running: dict[Future[None], ModuleBase] = {}
    with ThreadPoolExecutor(jobs, thread_name_prefix="train") as pool:
        while todo or running:
            for node in [node for node in todo if not waiting[id(node[1])]][: jobs - len(running)]:
                todo.remove(node)
                running[pool.submit(_take, "train", *node, deadline)] = node[1]
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                done = running.pop(future)
                future.result()
                for held in waiting.values():
                    held.discard(id(done))


def _held(module: ModuleBase, nodes: Sequence[Node]) -> set[int]:
    """All of `nodes` that `module` holds, directly or through others."""
    among = {id(each) for _, each in nodes}
    below = {id(each) for _, each in children_first(module)} - {id(module)}
    return below & among
