"""loop: a pipeline that goes round."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from modcore.flow.calls import Call, Function, Script
from modcore.flow.errors import InvalidFlow
from modcore.flow.mermaid import Drawing, Ends
from modcore.flow.pipeline import pipeline
from modcore.flow.tree import label
from modcore.flow.values import arguments, one_value, package


class loop(pipeline):  # noqa: N801 - the seeds' name
    """Do the items again and again, each round with what the last one made.

    It ends after `count` rounds, or as soon as `stop_condition` is true of what a round made,
    whichever comes first; one of the two must be given. Where a round makes several values (a
    package), the condition is asked about the first and the others go on; with
    `judge_on_full_input` it is asked about all of them, and all go on. A single value always does.
    """

    _type = "Loop"

    def __init__(
        self,
        *items: Any,
        count: int | None = None,
        stop_condition: Function | None = None,
        judge_on_full_input: bool = False,
        post_action: Callable[..., Any] | None = None,
        **named: Any,
    ) -> None:
        if count is None and stop_condition is None:
            raise InvalidFlow("a loop needs count or stop_condition: it would never end")
        if count is not None and (type(count) is not int or count < 0):
            raise InvalidFlow(f"a loop's count must be a number of rounds from 0, not {count!r}")
        self._count = count
        self._judge_on_full_input = judge_on_full_input
        self._stop_condition: Function | None = None
        super().__init__(*items, post_action=post_action, **named)
        if stop_condition is not None:
            self._stop_condition = self._checked(stop_condition, "stop_condition")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the last round made; keyword arguments go to the first item of the first round."""
        return super(pipeline, self).__call__(*args, **kwargs)

    def _script(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        outputs: dict[int, Any] | None = None,
    ) -> Script:
        if not self._functions:
            raise InvalidFlow("this loop has no items to go round with")
        value = one_value(args)
        rounds = itertools.count(1) if self._count is None else range(1, self._count + 1)
        for number in rounds:
            value = yield from self._through(value, kwargs, outputs, f"round {number}, ")
            kwargs = {}
            if self._stop_condition is not None:
                judged, value = self._split(value)
                part = f"round {number}, stop condition {label(self._stop_condition)!r}"
                if (yield Call(self._stop_condition, judged, part)):
                    break
        return value

    def _split(self, value: Any) -> tuple[tuple[Any, ...], Any]:
        """What the condition is asked about, and what goes on."""
        if self._judge_on_full_input or type(value) is not package or len(value) < 2:
            return arguments(value), value
        return value[:1], one_value(value[1:])

    def _children(self) -> list[Function]:
        condition = [] if self._stop_condition is None else [self._stop_condition]
        return [*condition, *self._functions]

    def _shown(self) -> dict[str, Any]:
        count = {} if self._count is None else {"count": self._count}
        return {**super()._shown(), **count}

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        words = [] if self._count is None else [f"{self._count} times"]
        if self._stop_condition is not None:
            words.append(f"until {label(self._stop_condition)}")
        start = drawing.node(f"loop {' or '.join(words)}", "{{", "}}")
        drawing.edges(ends, start)
        drawing.edges([(end, "again") for end, _ in super()._draw(drawing, [(start, "")])], start)
        return [(start, "done")]
