"""bind: a function with some of its arguments decided, others to be filled in when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modcore.flow.calls import Function, acall
from modcore.flow.errors import InvalidFlow
from modcore.flow.references import Placeholder, Reference
from modcore.flow.tree import label


class bind:  # noqa: N801 - the seeds' name
    """``bind(function, _0, p.input, key=p.output("a"))``, or ``function | bind(_0, p.input)``.

    `_0` … `_9` are the arguments that arrive. Where a placeholder or a positional argument is bound,
    only what is bound is passed on; where keywords alone are bound, what arrives comes with them.
    A reference inside a list or dict is not looked for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._function: Function | None = None
        if args and callable(args[0]) and not isinstance(args[0], Reference):
            self._function, args = args[0], args[1:]
        self._args, self._kwargs = args, kwargs
        bound = [*args, *kwargs.values()]
        self._decides_all = bool(args) or any(isinstance(each, Placeholder) for each in bound)

    def _bound_function(self) -> Any:
        return self._function

    @property
    def __name__(self) -> str:
        """The function's name, which is what an error and a tree call it."""
        return label(self._function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with what is bound, filled in."""
        function, args, kwargs = self._resolved(args, kwargs)
        return function(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """The async form of a call."""
        function, args, kwargs = self._resolved(args, kwargs)
        return await acall(function, *args, **kwargs)

    def _resolved(
        self, upstream: tuple[Any, ...], given: Mapping[str, Any]
    ) -> tuple[Function, tuple[Any, ...], dict[str, Any]]:
        if self._function is None:
            raise InvalidFlow(f"{self!r} has no function to call: write function | {self!r}")
        if twice := sorted(self._kwargs.keys() & given):
            raise TypeError(f"{self!r} is called with {', '.join(twice)}, which is bound already")
        args = self._args if self._decides_all else upstream
        filled = tuple(_filled(each, upstream) for each in args)
        keywords = {key: _filled(each, upstream) for key, each in self._kwargs.items()}
        return self._function, filled, {**keywords, **given}

    def __or__(self, other: Any) -> Any:
        from modcore.flow.pipeline import compose  # a pipeline may have bound items

        return compose(self, other)

    def __ror__(self, other: Any) -> Any:
        from modcore.flow.pipeline import compose

        return compose(other, self)

    def _with(self, function: Any) -> bind:
        """The same arguments, bound to `function`."""
        if not callable(function) or isinstance(function, Reference):
            raise InvalidFlow(f"{function!r} | {self!r}: what stands on the left must be callable")
        made = bind(*self._args, **self._kwargs)
        made._function = function
        return made

    def __repr__(self) -> str:
        function = [] if self._function is None else [label(self._function)]
        args = map(repr, self._args)
        keywords = (f"{key}={value!r}" for key, value in self._kwargs.items())
        return f"bind({', '.join([*function, *args, *keywords])})"


def _filled(value: Any, upstream: tuple[Any, ...]) -> Any:
    return value._resolve(upstream) if isinstance(value, Reference) else value
