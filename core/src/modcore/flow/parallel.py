"""parallel, diverter and warp: several branches side by side."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

from modcore.flow.base import Flow
from modcore.flow.branches import ain_turn, in_tasks, in_threads, in_turn
from modcore.flow.calls import STREAMS, Call, needs_loop, prefers_loop, run, told
from modcore.flow.errors import InvalidFlow
from modcore.flow.mermaid import Drawing, Ends
from modcore.flow.places import add_place
from modcore.flow.values import arguments, package, plain

Concurrency = bool | Literal["thread", "process", "async"]
_CONCURRENCIES = {True: "thread", "thread": "thread", "process": "process", "async": "async"}


class parallel(Flow):  # noqa: N801 - the seeds' name
    """``parallel(a, b, name=c)``: every branch gets the same input; their results are a package.

    `asdict`, `aslist`, `astuple`, `sum` and `join` decide on another form of the results, once.
    `_concurrent` is where the branches run: True or ``"thread"`` for threads (coroutine functions
    are tasks), ``"async"`` for tasks of one event loop, ``"process"`` for other processes, False for
    one after the other. Each branch sees a copy of the caller's context variables, except in
    another process.
    """

    _type = "Parallel"

    def __init__(
        self,
        *items: Any,
        _concurrent: Concurrency = True,
        post_action: Callable[..., Any] | None = None,
        **named: Any,
    ) -> None:
        if _concurrent is not False and (
            not isinstance(_concurrent, (bool, str)) or _concurrent not in _CONCURRENCIES
        ):
            raise InvalidFlow(
                f"_concurrent={_concurrent!r}: it is True, False, 'thread', 'process' or 'async'"
            )
        self._how = _CONCURRENCIES[_concurrent] if _concurrent else "turn"
        self._part_texts: tuple[str, ...] | None = None
        self._form: tuple[str, Callable[[list[Any]], Any]] | None = None
        super().__init__(*items, post_action=post_action, **named)

    @classmethod
    def sequential(cls, *items: Any, **options: Any) -> Self:
        """One whose branches run one after the other."""
        return cls(*items, _concurrent=False, **options)

    @property
    def asdict(self) -> Self:
        """Make the results a dict by the names of the branches; returns the flow itself."""
        return self._formed("asdict", self._by_name)

    @property
    def aslist(self) -> Self:
        """Make the results a list; returns the flow itself."""
        return self._formed("aslist", list)

    @property
    def astuple(self) -> Self:
        """Make the results a plain tuple, one value for the next item; returns the flow itself."""
        return self._formed("astuple", tuple)

    @property
    def sum(self) -> Self:
        """Add the results up with ``+``; none make 0. Returns the flow itself."""
        return self._formed("sum", _added)

    def join(self, separator: str = "") -> Self:
        """Make the results one string, `separator` between them; returns the flow itself."""
        if not isinstance(separator, str):
            raise InvalidFlow(f"join takes the text to put between results, not {separator!r}")
        return self._formed("join", functools.partial(_joined, separator))

    def _formed(self, name: str, form: Callable[[list[Any]], Any]) -> Self:
        if self._form is not None:
            raise InvalidFlow(
                f"the results of a {self._kind} are given a form once: "
                f"this one has .{self._form[0]}, so .{name} cannot be"
            )
        self._form = name, form
        return self

    def _by_name(self, results: list[Any]) -> dict[str | None, Any]:
        return dict(zip(self._names, results, strict=True))

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        calls = self._calls(args, kwargs)
        return self._finished(calls, self._results(calls))

    async def _arun(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        calls = self._calls(args, kwargs)
        return self._finished(calls, await self._aresults(calls))

    def _results(self, calls: list[Call]) -> Any:
        if self._how == "process":
            from modcore.flow.processes import in_processes  # loads multiprocessing

            return in_processes(self._kind, calls)
        if self._how == "turn":
            return in_turn(self._kind, calls)
        if self._how == "async":
            return run(in_tasks(self._kind, calls, _always))
        if self._needs_loop():
            return run(in_tasks(self._kind, calls, needs_loop))
        return in_threads(self._kind, calls)

    async def _aresults(self, calls: list[Call]) -> list[Any]:
        if self._how == "process":
            from modcore.flow.processes import ain_processes

            return await ain_processes(self._kind, calls)
        if self._how == "turn":
            return await ain_turn(self._kind, calls)
        return await in_tasks(self._kind, calls, _always if self._how == "async" else prefers_loop)

    def _calls(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Call]:
        """The branches of this call of the flow."""
        self._check_names()
        return [
            Call(function, args, part, kwargs)
            for function, part in zip(self._functions, self._parts(), strict=True)
        ]

    def _check_names(self) -> None:
        if self._form is not None and self._form[0] == "asdict" and None in self._names:
            number = self._names.index(None)
            raise InvalidFlow(
                f"asdict needs a name for every branch; branch {number + 1} "
                f"({self._label(number)!r}) of this {self._kind} has none"
            )

    def _finished(self, calls: list[Call], results: list[Any]) -> Any:
        values = [plain(result) for result in results]
        if any(type(value) in STREAMS for value in values):
            pairs = zip(values, calls, strict=True)
            values = [told(value, call, self._kind) for value, call in pairs]
        if self._form is None:
            return package.of(values)
        name, form = self._form
        try:
            return form(values)
        except Exception as error:
            add_place(error, self._kind, f".{name} of the results")
            raise

    def _parts(self) -> tuple[str, ...]:
        """Where an error was: ``branch 'b'``, with its number where two are called b."""
        if self._part_texts is None:
            labels = [self._label(number) for number in range(len(self._functions))]
            self._part_texts = tuple(
                f"branch {text!r}" if labels.count(text) == 1 else f"branch {number} {text!r}"
                for number, text in enumerate(labels, 1)
            )
        return self._part_texts

    def _add(self, name: str | None, item: Any) -> None:
        super()._add(name, item)
        self._part_texts = None

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        if not self._functions:
            return ends
        numbers = range(len(self._functions))
        return [end for number in numbers for end in self._draw_item(drawing, number, ends)]


class diverter(parallel):  # noqa: N801 - the seeds' name
    """``diverter(a, b)``: the first branch gets the first input, the second the second.

    The inputs are as many arguments as there are branches, one list or tuple of that length, or one
    dict by the names of the branches. Keyword arguments go to every branch.
    """

    _type = "Diverter"

    def _calls(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Call]:
        calls = super()._calls(args, kwargs)
        for call, value in zip(calls, self._dealt(args), strict=True):
            call.args = arguments(value)
        return calls

    def _dealt(self, args: tuple[Any, ...]) -> Sequence[Any]:
        width = len(self._functions)
        inputs: Sequence[Any] = args
        if len(args) == 1 and isinstance(args[0], dict) and any(self._names):
            return self._dealt_by_name(args[0])
        if len(args) == 1 and isinstance(args[0], (list, tuple)) and width != 1:
            inputs = args[0]
        if len(inputs) != width:
            raise InvalidFlow(
                f"a diverter needs one input for each of its {width} branches; it got {len(inputs)}"
            )
        return inputs

    def _dealt_by_name(self, inputs: dict[Any, Any]) -> list[Any]:
        names = [self._label(number) for number in range(len(self._functions))]
        if set(names) != set(inputs):
            raise InvalidFlow(
                f"a diverter's dict has one input for each branch: {', '.join(names)}; "
                f"it got {', '.join(map(str, inputs)) or 'none'}"
            )
        return [inputs[name] for name in names]


class warp(parallel):  # noqa: N801 - the seeds' name
    """``warp(f)(1, 2, 3)`` or ``warp(f)([1, 2, 3])``: one item over many inputs, side by side.

    Each argument is an input; where there is one argument and it is a list, each of its elements is.
    A package among them is several arguments. Keyword arguments go along with every input.
    """

    _type = "Warp"

    @property
    def asdict(self) -> Self:
        """Refused: the inputs of a warp have no names."""
        raise InvalidFlow("a warp has no asdict: its inputs have no names")

    def _add(self, name: str | None, item: Any) -> None:
        if self._functions and (name is None or name not in self._names):
            raise InvalidFlow("a warp takes one item; put several into a pipeline")
        super()._add(name, item)

    def _calls(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Call]:
        if not self._functions:
            raise InvalidFlow("this warp has no item to apply to its inputs")
        inputs = args[0] if len(args) == 1 and isinstance(args[0], list) else args
        text = repr(self._label(0))
        return [
            Call(self._functions[0], arguments(value), f"input {number} {text}", kwargs)
            for number, value in enumerate(inputs, 1)
        ]

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        return super()._draw(drawing, [(end, words or "each") for end, words in ends])


def _always(_: Any) -> bool:
    return True


def _added(results: list[Any]) -> Any:
    return functools.reduce(operator.add, results) if results else 0


def _joined(separator: str, results: list[Any]) -> str:
    return separator.join(map(str, results))
