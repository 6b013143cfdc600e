"""Deploying a tree whose services find each other by name: all of them at once.

A service does not wait for the services that it calls: its calls do. Whatever else is deployed keeps its
order, children first, and finds the services before it ready; a service that holds something that is
deployed here waits for that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from modcore.errors import ServiceError
from modcore.module.at_once import GATHER, AtOnce
from modcore.module.interruptible import GRACE, InterruptibleTask
from modcore.module.progress import progress
from modcore.module.submodules import children_first

if TYPE_CHECKING:
    from modcore.module.base import ModuleBase
    from modcore.module.deadline import Deadline

#: A module and its path from the root.
Node = tuple[str, "ModuleBase"]


def addressed(nodes: Sequence[Node]) -> frozenset[int]:
    """The ids of those modules that others find by name; raises ServiceError when two have one name."""
    paths: dict[tuple[str, str], str] = {}
    found = set()
    for path, module in nodes:
        address = module._address(path)
        if address is None:
            continue
        if address in paths:
            raise ServiceError(
                f"{paths[address]} and {path} are both called {address[1]!r}, and would answer each "
                "other's calls; give one of them another name."
            )
        paths[address] = path
        found.add(id(module))
    return frozenset(found)


def deploy_at_once(
    nodes: Sequence[Node],
    services: frozenset[int],
    deploy: Callable[[Node], None],
    deadline: Deadline,
) -> None:
    """Call `deploy` for each of `nodes`, which come children first; for `services` in threads.

    Raises what failed, several as an ExceptionGroup, or the TimeoutError of all that were not ready.
    """
    if not services:
        for node in nodes:
            deploy(node)
        return
    # Whoever runs out of time is busy ending for a while, and says so then.
    crew = AtOnce("services", lambda: GRACE if deadline.is_over else GATHER)
    try:
        _deploy(nodes, services, deploy, crew)
    except BaseException as error:
        crew.give_up(error)
        for _, module in nodes:
            if module.state.deploy == "running":  # it blocks
                module.state.record("deploy", "interrupted", error)
        late = deadline.as_one(error) if isinstance(error, ExceptionGroup) else None
        if late is not None:
            raise late from None
        raise


def stopped_together(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """`nodes`, which come parents first, in the groups that can be stopped at once.

    Processes end together unless one of them holds another, which it may be calling; what has a `stop` of
    its own otherwise ends alone.
    """
    from modcore.module.base import ModuleBase

    group: list[Node] = []
    held: set[int] = set()
    for node in nodes:
        module = node[1]
        is_plain = type(module).stop is ModuleBase.stop and "stop" not in vars(module)
        ends_alone = not (is_plain or module.deploys_elsewhere)
        if group and (ends_alone or (module.deploys_elsewhere and id(module) in held)):
            yield group
            group, held = [], set()
        group.append(node)
        if ends_alone:
            yield group
            group = []
        elif module.deploys_elsewhere:
            held |= {id(each) for _, each in children_first(module, allow_cycles=True)}
    if group:
        yield group


def _deploy(
    nodes: Sequence[Node],
    services: frozenset[int],
    deploy: Callable[[Node], None],
    crew: AtOnce,
) -> None:
    begun: dict[int, InterruptibleTask] = {}

    def begin(node: Node) -> None:
        if id(node[1]) not in begun:
            task = functools.partial(deploy, node)
            begun[id(node[1])] = crew.start(f"deploying {node[0]}", task)

    for node in _free(nodes, services):
        begin(node)
    before: list[InterruptibleTask] = []
    for node in nodes:
        if id(node[1]) in services:
            begin(node)
            before.append(begun[id(node[1])])
            continue
        if before and _deploys(node[1]):
            _wait(crew, before)
        deploy(node)
    _wait(crew, list(begun.values()))


def _wait(crew: AtOnce, tasks: Sequence[InterruptibleTask]) -> None:
    with progress(f"deploying {len(tasks)} services"):
        crew.wait(tasks)


def _free(nodes: Sequence[Node], services: frozenset[int]) -> Iterator[Node]:
    """The services that hold nothing which is deployed here in its turn."""
    in_turn = {id(module) for _, module in nodes if _deploys(module)} - services
    for node in nodes:
        if id(node[1]) in services and in_turn.isdisjoint(_in_its_process(node[1], services)):
            yield node


def _in_its_process(service: ModuleBase, services: frozenset[int]) -> Iterator[int]:
    """The ids of what `service` holds; of another service only that itself, of which it gets a handle."""

    def enter(module: ModuleBase) -> bool:
        return module is service or id(module) not in services

    return (id(held) for _, held in children_first(service, enter=enter)[:-1])


def _deploys(module: ModuleBase) -> bool:
    """Whether it may have something to deploy, and so may need the services before it."""
    from modcore.module.base import ModuleBase

    return type(
        module
    )._get_deploy_tasks is not ModuleBase._get_deploy_tasks or "_get_deploy_tasks" in vars(module)
