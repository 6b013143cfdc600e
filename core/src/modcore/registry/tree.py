"""The tree that registries form: parents, children, and the scopes that lead to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from threading import RLock
from typing import Self

from modcore.registry.errors import RegistryConflict, RegistryMiss


class Node:
    """A registry as a place in a tree; knows nothing of what is registered."""

    def __init__(self, name: str, parent: Self | None, scope: str | None) -> None:
        if parent is not None and not isinstance(parent, Node):
            raise TypeError(f"parent is {parent!r}; it has to be a Registry.")
        self._name = name
        self._scope = self.infer_scope() if scope is None else _checked(scope)
        self._parent = parent
        self._children: dict[str, Self] = {}
        #: Guards changes in the whole tree. Never held during an import, which has locks of its own.
        self._lock: RLock = RLock() if parent is None else parent._lock

    @property
    def name(self) -> str:
        """What kind of thing is registered here."""
        return self._name

    @property
    def scope(self) -> str:
        """The scope that keys name it by."""
        return self._scope

    @property
    def parent(self) -> Self | None:
        """The registry above, or None."""
        return self._parent

    @property
    def children(self) -> Mapping[str, Self]:
        """The registries below, by scope."""
        return dict(self._children)

    @property
    def root(self) -> Self:
        """The registry at the top of the tree."""
        return list(self.line())[-1]

    @property
    def path(self) -> str:
        """``scope::name``, as messages show it."""
        return f"{self._scope}::{self._name}"

    @property
    def address(self) -> str:
        """The shortest path of scopes that leads here from anywhere in the tree."""
        scopes = [node.scope for node in self.line()][::-1]
        ways = (".".join(scopes[start:]) for start in range(len(scopes) - 1, -1, -1))
        return next(way for way in ways if self.node_of(way) is self)

    def line(self) -> Iterator[Self]:
        """The registry, its parent, and so on to the root."""
        node: Self | None = self
        while node is not None:
            yield node
            node = node._parent

    def tree(self) -> Iterator[Self]:
        """The registry and all below it, those near it first."""
        level = [self]
        while level:
            yield from level
            level = [child for node in level for child in tuple(node._children.values())]

    def node_of(self, path: str) -> Self | None:
        """The registry that a scope, or a path of scopes, names; None for an unknown one.

        Of registries with one scope it is the one nearest the root; where several are as near, a
        path is needed (``det.heads``), which starts at such a scope and goes down.
        """
        first, *rest = path.split(".")
        level = [self.root]
        while level and not any(node._scope == first for node in level):
            level = [child for node in level for child in tuple(node._children.values())]
        found = [node for node in level if node._scope == first]
        node = found[0] if len(found) == 1 else None
        for scope in rest:
            node = node._children.get(scope) if node is not None else None
        return node

    def switch(self, scope: str) -> Self:
        """The registry of `scope` in this tree; raises RegistryMiss for an unknown scope."""
        node = self.node_of(scope)
        if node is None:
            raise RegistryMiss(
                f"There is no scope {scope!r} in the registries of {self.root.name}; {self.scopes()}"
            )
        return node

    def scopes(self) -> str:
        """The scopes of the tree, as a sentence."""
        return f"the scopes are {', '.join(sorted(node.address for node in self.root.tree()))}."

    def readings(self, key: str) -> Iterator[tuple[Self, str]]:
        """Where to start with `key`, and the name to look for: first as scopes and a name."""
        if not isinstance(key, str):
            raise TypeError(f"the key is {key!r}; it has to be a string.")
        parts = key.split(".")
        for count in range(len(parts) - 1, 0, -1):
            node = self.node_of(".".join(parts[:count]))
            if node is not None:
                yield node, ".".join(parts[count:])
        yield self, key

    def _add_child(self, child: Self) -> None:
        with self._lock:
            taken = self._children.setdefault(child.scope, child)
        if taken is not child:
            raise RegistryConflict(
                f"scope {child.scope!r} is taken below {self.path}, by {taken.path}; "
                f"give {child.name!r} another scope."
            )

    @staticmethod
    def infer_scope() -> str:
        """The package whose code makes the registry, as MMEngine infers it."""
        frame = sys._getframe(1)
        while frame.f_back is not None and (
            str(frame.f_globals.get("__name__")).startswith(__package__)
            # the constructor of a class derived from Registry
            or (frame.f_code.co_name == "__init__" and isinstance(frame.f_locals.get("self"), Node))
        ):
            frame = frame.f_back
        return str(frame.f_globals.get("__name__") or "__main__").partition(".")[0]

    @staticmethod
    def split_scope_key(key: str) -> tuple[str | None, str]:
        """``scope.rest`` in two at the first dot; the scope is None without one."""
        scope, dot, rest = key.partition(".")
        return (scope, rest) if dot else (None, key)


def _checked(scope: object) -> str:
    if not isinstance(scope, str):
        raise TypeError(f"scope is {scope!r}; it has to be a string.")
    if not scope or "." in scope:
        raise ValueError(f"scope is {scope!r}; it has to be a name without dots.")
    return scope
