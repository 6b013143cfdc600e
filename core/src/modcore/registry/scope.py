"""The default scope: which registry of a tree a build starts from, when its config does not say.

MMEngine's names. Here a scope is a context variable: an asyncio task starts with its creator's, a
thread with none, and neither sees what the others set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from modcore.registry.errors import RegistryMiss

#: The scopes made in this context; the last one holds.
_made: ContextVar[tuple[DefaultScope, ...]] = ContextVar("modcore_default_scopes", default=())
#: The name of the one that holds, which is what every build asks for.
_current: ContextVar[str | None] = ContextVar("modcore_default_scope", default=None)

#: The name of the scope that holds here, or None.
current_scope = _current.get


class DefaultScope:
    """A default scope, and the name it can be found by."""

    def __init__(self, name: str, scope_name: str) -> None:
        if not isinstance(scope_name, str):
            raise TypeError(f"scope_name is {scope_name!r}; it has to be a string.")
        self.instance_name = name
        self.scope_name = scope_name

    def __repr__(self) -> str:
        return f"DefaultScope({self.instance_name!r}, scope_name={self.scope_name!r})"

    @classmethod
    def get_instance(cls, name: str, scope_name: str | None = None) -> DefaultScope:
        """The scope called `name`; with `scope_name` it is made, and holds from here on.

        Raises RegistryMiss when there is none and no `scope_name` to make it with.
        """
        if scope_name is not None:
            made = cls(name, scope_name)
            _made.set((*(each for each in _made.get() if each.instance_name != name), made))
            _current.set(scope_name)
            return made
        for each in _made.get():
            if each.instance_name == name:
                return each
        raise RegistryMiss(f"There is no default scope called {name!r} here; give its scope_name.")

    @classmethod
    def get_current_instance(cls) -> DefaultScope | None:
        """The scope that holds here, or None."""
        return _made.get()[-1] if _made.get() else None

    @classmethod
    @contextmanager
    def overwrite_default_scope(cls, scope_name: str | None) -> Iterator[None]:
        """Let `scope_name` hold inside the ``with`` block; None changes nothing."""
        if scope_name is None:
            yield
            return
        made = _made.set((*_made.get(), cls(f"overwrite-{scope_name}", scope_name)))
        current = _current.set(scope_name)
        try:
            yield
        finally:
            _current.reset(current)
            _made.reset(made)


def init_default_scope(scope: str) -> None:
    """Make `scope` the default from here on."""
    DefaultScope.get_instance(scope, scope_name=scope)
