"""What may take part in a call beside `forward`: hooks, a cache, and what watches a stream."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from modcore.flow.calls import settled
from modcore.module.caching import MISSING, Cache
from modcore.module.streams import Watch, sink_of

if TYPE_CHECKING:
    from modcore.module.base import ModuleBase

Hook = Callable[..., None]


class CallExtras:
    """The hooks and the cache of one module."""

    def __init__(self) -> None:
        # Replaced, never changed: a hook may take itself out in the middle of a call.
        self.before: tuple[Hook, ...] = ()
        self.after: tuple[Hook, ...] = ()
        self.on_error: tuple[Hook, ...] = ()
        self.cache: Cache | None = None

    def add(
        self, before: Hook | None, after: Hook | None, on_error: Hook | None
    ) -> Callable[[], None]:
        """Add hooks; returns what takes them out again. Raises TypeError for what is no function."""
        given = {"before": before, "after": after, "on_error": on_error}
        added = {name: hook for name, hook in given.items() if hook is not None}
        for name, hook in added.items():
            if not callable(hook):
                raise TypeError(f"{name} is {hook!r}; it has to be a function.")
        for name, hook in added.items():
            setattr(self, name, (*getattr(self, name), hook))

        def remove() -> None:
            for name, hook in list(added.items()):
                hooks = list(getattr(self, name))
                hooks.remove(hook)
                setattr(self, name, tuple(hooks))
            added.clear()

        return remove

    def call(self, module: ModuleBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`module.forward` with everything around it."""
        for hook in self.before:
            hook(module, args, kwargs)
        try:
            result = self._compute(module, args, kwargs)
        except BaseException as error:
            self._failed(module, error)
            raise
        return self._passed(module, result)

    async def acall(self, module: ModuleBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `call`, for a `forward` that is a coroutine function."""
        for hook in self.before:
            hook(module, args, kwargs)
        try:
            result = await self._await(module, args, kwargs)
        except BaseException as error:
            self._failed(module, error)
            raise
        return self._passed(module, result)

    def _compute(self, module: ModuleBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.cache is None:
            return settled(module.forward(*args, **kwargs))
        key, result = self.cache.find(args, kwargs)
        if result is MISSING:
            result = settled(module.forward(*args, **kwargs))
            self.cache.keep(key, result)
        return result

    async def _await(
        self, module: ModuleBase, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.cache is None:
            return await module.forward(*args, **kwargs)
        key, result = self.cache.find(args, kwargs)
        if result is MISSING:
            result = await module.forward(*args, **kwargs)
            self.cache.keep(key, result)
        return result

    def _passed(self, module: ModuleBase, result: Any) -> Any:
        if not isinstance(result, (Iterator, AsyncIterator)):
            self._ended(module, result)
            return result
        watch = Watch(
            sink_of(module),
            functools.partial(self._ended, module) if self.after else None,
            functools.partial(self._failed, module),
        )
        return watch.over(result) if isinstance(result, Iterator) else watch.aover(result)

    def _ended(self, module: ModuleBase, result: Any) -> None:
        for hook in self.after:
            hook(module, result)

    def _failed(self, module: ModuleBase, error: BaseException) -> None:
        for hook in self.on_error:
            try:
                hook(module, error)
            except Exception as failure:  # what went wrong first is what matters
                error.add_note(f"an on_error hook failed too: {type(failure).__name__}: {failure}")
