"""Which modules a module holds, and the walk through all of them.

A submodule is what is reachable: an attribute, or an item of the lists, tuples and dicts in the
attributes, or a step of a flow among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modcore.errors import ModcoreError
from modcore.flow import Flow

if TYPE_CHECKING:
    from modcore.module.base import ModuleBase


class ModuleCycle(ModcoreError):
    """A module that holds itself, directly or through others."""


def modules_in(attributes: Mapping[str, Any]) -> Iterator[tuple[str, ModuleBase]]:
    """The modules that `attributes` hold, each once, with the first way to it, in order."""
    met: dict[int, Any] = {}  # what it refers to stays alive, so that no id is given twice
    for name, value in attributes.items():
        yield from _modules_in(value, name, met)


def _modules_in(value: Any, label: str, met: dict[int, Any]) -> Iterator[tuple[str, ModuleBase]]:
    from modcore.module.base import ModuleBase

    if not isinstance(value, (ModuleBase, Flow, Mapping, list, tuple)) or id(value) in met:
        return
    met[id(value)] = value
    if isinstance(value, ModuleBase):
        yield label, value
        return
    for part, item in _parts(value):
        yield from _modules_in(item, f"{label}{part}", met)


def _parts(
    value: Flow | Mapping[Any, Any] | list[Any] | tuple[Any, ...],
) -> Iterator[tuple[str, Any]]:
    """What `value` holds, each with how to say where."""
    from modcore.module.base import ModuleBase

    if isinstance(value, Flow):
        found: list[ModuleBase] = []
        value.for_each(lambda item: isinstance(item, ModuleBase), found.append)
        yield from ((f" step {number}", module) for number, module in enumerate(found, 1))
    elif isinstance(value, Mapping):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    else:
        yield from ((f"[{number}]", item) for number, item in enumerate(value))


def children_first(
    root: ModuleBase,
    *,
    allow_cycles: bool = False,
    enter: Callable[[ModuleBase], bool] | None = None,
) -> list[tuple[str, ModuleBase]]:
    """Every module of the tree with its path, each once, children before parents.

    What is below a module that `enter` refuses is left out. Raises ModuleCycle, with the whole way
    round, when a module holds itself, unless that is allowed.
    """

    def held(module: ModuleBase) -> Iterator[tuple[str, ModuleBase]]:
        return iter(module.named_submodules() if enter is None or enter(module) else ())

    order: list[tuple[str, ModuleBase]] = []
    done: set[int] = set()
    way: dict[int, str] = {}  # from the root to where we are, in order
    # Without recursion: a chain of modules may be longer than Python's stack.
    stack = [(label_of(root), root, held(root))]
    way[id(root)] = label_of(root)
    while stack:
        path, module, rest = stack[-1]
        for label, child in rest:
            if id(child) in way and allow_cycles:
                continue
            if id(child) in way:
                raise ModuleCycle(
                    f"{path} → {label} is {way[id(child)]} again: a module cannot hold itself."
                )
            if id(child) not in done:
                stack.append((f"{path} → {label}", child, held(child)))
                way[id(child)] = f"{path} → {label}"
                break
        else:
            stack.pop()
            del way[id(module)]
            done.add(id(module))
            order.append((path, module))
    return order


def deployed_here(root: ModuleBase) -> list[tuple[str, ModuleBase]]:
    """As `children_first`, without what is deployed in other processes; these processes are ours to start."""
    everything = children_first(root)
    here = {
        id(module)
        for _, module in children_first(root, enter=lambda each: not each.deploys_elsewhere)
    }
    return [
        (path, module)
        for path, module in everything
        if id(module) in here or module.deploys_elsewhere
    ]


def label_of(module: ModuleBase) -> str:
    """A module as paths and messages show it."""
    name = getattr(module, "name", None)
    return f"{type(module).__name__} {name!r}" if name else type(module).__name__
