"""pipeline: each item gets what the one before it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import length_hint
from types import CoroutineType
from typing import Any

from modcore.flow.base import Flow
from modcore.flow.binding import bind
from modcore.flow.calls import STREAMS, Call, Script, adrive, drive, run, told
from modcore.flow.errors import InvalidFlow, NotCallable
from modcore.flow.mermaid import Drawing, Ends
from modcore.flow.recording import recording
from modcore.flow.references import Loan, Reference
from modcore.flow.values import arguments, one_value, package


class pipeline(Flow):  # noqa: N801 - the seeds' name
    """``pipeline(load, parse, name=store)``: the output of an item is the input of the next.

    Keyword arguments of a call go to the first item. Items may `bind` to `input`, `kwargs` and
    `output(name)`, those of inner flows as well.
    """

    _type = "Pipeline"

    def __init__(
        self, *items: Any, post_action: Callable[..., Any] | None = None, **named: Any
    ) -> None:
        self._lends = False  # whether somebody may ask for what a call was given or has made
        self._composed = False  # made by `|`, so that another `|` adds to it
        super().__init__(*items, post_action=post_action, **named)

    @property
    def input(self) -> Reference:
        """For `bind`: what the pipeline is called with; a tuple where that is several values."""
        self._lends = True
        return Loan(self, "input")

    @property
    def kwargs(self) -> Reference:
        """For `bind`: the dict of the keyword arguments that the pipeline is called with."""
        self._lends = True
        return Loan(self, "kwargs")

    def output(self, item: Any) -> Reference:
        """For `bind`: what an earlier item, given by its name or itself, has made."""
        if isinstance(item, str):
            if item not in self._names:
                raise InvalidFlow(f"no output to bind: {self._no_item(item)}")
            number = self._names.index(item)
        elif item in self._functions:
            number = self._functions.index(item)
        else:
            raise InvalidFlow(f"no output to bind: {item!r} is no item of this {self._kind}")
        self._lends = True
        return Loan(self, "output", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the last item; without items, what it is called with."""
        if self._lends or kwargs or self._post_action is not None:
            return super().__call__(*args, **kwargs)
        # The same as `_script` does, without anything that costs something where nothing happens.
        value = args[0] if len(args) == 1 else package.of(args)
        functions = self._functions
        left = iter(functions)
        try:
            for function in left:
                value = function(*value) if type(value) is package else function(value)
                if type(value) is CoroutineType:
                    value = run(value)
        except Exception as error:
            number = len(functions) - length_hint(left) - 1
            Call(functions[number], (), self._part(number)).failed(error, self._kind)
            raise
        if type(value) in STREAMS and functions:
            return told(value, Call(functions[-1], (), self._part(len(functions) - 1)), self._kind)
        return value

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not self._lends:
            return drive(self._kind, self._script(args, kwargs))
        with recording(self, args, kwargs) as call:
            return drive(self._kind, self._script(args, kwargs, call.outputs))

    async def _arun(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not self._lends:
            return await adrive(self._kind, self._script(args, kwargs))
        with recording(self, args, kwargs) as call:
            return await adrive(self._kind, self._script(args, kwargs, call.outputs))

    def _script(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        outputs: dict[int, Any] | None = None,
    ) -> Script:
        if kwargs and not self._functions:
            raise TypeError(f"{self._kind} has no items to take {', '.join(kwargs)}")
        return self._through(one_value(args), kwargs, outputs)

    def _through(
        self, value: Any, kwargs: Mapping[str, Any], outputs: dict[int, Any] | None, when: str = ""
    ) -> Script:
        """Once through the items; `when` goes before what says where an error was."""
        for number, function in enumerate(self._functions):
            value = yield Call(function, arguments(value), when + self._part(number), kwargs)
            kwargs = {}
            if outputs is not None:
                outputs[number] = value
        return value

    def _part(self, number: int) -> str:
        return f"step {number + 1} {self._label(number)!r}"

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        for number in range(len(self._functions)):
            ends = self._draw_item(drawing, number, ends)
        return ends


def compose(left: Any, right: Any) -> Any:
    """What ``left | right`` makes: a pipeline of both, or `left` with what `right` binds."""
    if isinstance(right, bind) and right._function is None:
        return right._with(left)
    for side in (left, right):
        if not callable(side):
            raise NotCallable(f"{side!r} cannot be part of a pipeline: it is not callable")
    made = pipeline(*_parts(left), *_parts(right))
    made._composed = True
    return made


def _parts(side: Any) -> tuple[Any, ...]:
    """`side`, or the items of a pipeline that ``|`` made and nobody has added to."""
    if not isinstance(side, pipeline) or not side._composed:
        return (side,)
    return (side,) if side._lends or any(side._names) else side._functions
