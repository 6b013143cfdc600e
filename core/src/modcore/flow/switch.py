"""switch and ifs: one of several items, chosen by what comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modcore.flow.base import Flow
from modcore.flow.calls import Call, Function, Script
from modcore.flow.errors import InvalidFlow, NoMatch
from modcore.flow.mermaid import Drawing, Ends
from modcore.flow.references import Reference
from modcore.flow.tree import label
from modcore.flow.values import arguments, one_value

#: The condition of the case for what no other case is for.
DEFAULT = "default"


class Cases:
    """``s.case[condition, function]``, ``s.case[condition::function]``, ``s.case(condition, function)``."""

    def __init__(self, owner: switch) -> None:
        self._owner = owner

    def __call__(self, condition: Any, function: Function) -> None:
        """Add a case."""
        self._owner._add_case(condition, function)

    def __getitem__(self, key: Any) -> None:
        if isinstance(key, slice) and key.stop is None:
            key = (key.start, key.step)
        if not isinstance(key, tuple) or len(key) != 2:
            raise InvalidFlow(f"a case is case[condition, function], not case[{key!r}]")
        self(*key)


class switch(Flow):  # noqa: N801 - the seeds' name
    """``switch({condition: item, …})``, ``switch(condition, item, …)`` or, in a with block, `case`.

    The first case is taken whose condition is met: a callable that answers something true, or a
    value equal to the input. ``"default"`` is for what no other case is for; without one, NoMatch.
    With ``judge_on_full_input=False`` the first argument decides, and the others are the input.
    `conversion` is applied to what decides before any condition sees it.
    """

    _type = "Switch"

    def __init__(
        self,
        *cases: Any,
        judge_on_full_input: bool = True,
        conversion: Function | None = None,
        post_action: Callable[..., Any] | None = None,
    ) -> None:
        self._conditions: tuple[Any, ...] = ()
        self._judge_on_full_input = judge_on_full_input
        self._conversion: Function | None = None
        super().__init__(post_action=post_action)
        if conversion is not None:
            self._conversion = self._checked(conversion, "conversion")
        for condition, function in _pairs(cases):
            self._add_case(condition, function)

    @property
    def case(self) -> Cases:
        """Where cases are added: ``s.case[condition, function]``."""
        return Cases(self)

    def _add_case(self, condition: Any, function: Function) -> None:
        if isinstance(condition, Reference):
            raise InvalidFlow(f"{condition!r} cannot be a condition: bind it to a function")
        if callable(condition):
            self._checked(condition, "a condition")
        elif isinstance(condition, str) and condition == DEFAULT and DEFAULT in self._texts():
            raise InvalidFlow("this switch has a default case already")
        super()._add(None, function)
        self._conditions = (*self._conditions, condition)

    def _add(self, name: str | None, item: Any) -> None:
        raise InvalidFlow(
            f"a switch takes cases, not items: {name} = {item!r} would never be chosen; "
            f"write case[condition, function]"
        )

    def _texts(self) -> list[str]:
        return [each for each in self._conditions if isinstance(each, str)]

    def _script(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Script:
        judged, args = self._split(args)
        if self._conversion is not None:
            part = f"conversion {label(self._conversion)!r}"
            judged = arguments((yield Call(self._conversion, judged, part)))
        chosen = yield from self._choose(judged)
        part = f"case {_name(self._conditions[chosen])}"
        return (yield Call(self._functions[chosen], args, part, kwargs))

    def _split(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What decides, and what the chosen item gets."""
        if self._judge_on_full_input:
            return args, args
        if len(args) < 2:
            raise InvalidFlow(
                f"a switch that judges by the first argument needs another for its items; "
                f"it got {len(args)}"
            )
        return args[:1], args[1:]

    def _choose(self, judged: tuple[Any, ...]) -> Script:
        default = None
        for number, condition in enumerate(self._conditions):
            if callable(condition):
                if (yield Call(condition, judged, f"condition {label(condition)!r}")):
                    return number
            elif isinstance(condition, str) and condition == DEFAULT:
                default = number
            elif condition == one_value(judged):
                return number
        if default is None:
            shown = ", ".join(map(_name, self._conditions)) or "none"
            value = repr(one_value(judged))
            value = value if len(value) <= 200 else value[:200] + "…"
            raise NoMatch(f"no case of this switch is for {value} (its cases: {shown})")
        return default

    def _children(self) -> list[Function]:
        deciding = [each for each in (self._conversion, *self._conditions) if callable(each)]
        return [*deciding, *self._functions]

    def _shown(self) -> dict[str, Any]:
        return {"items": [label(c) if callable(c) else c for c in self._conditions]}

    def _label(self, number: int) -> str:
        return label(self._functions[number])

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        choice = drawing.node("switch", "{", "}")
        drawing.edges(ends, choice)
        return [
            end
            for number, condition in enumerate(self._conditions)
            for end in self._draw_item(
                drawing,
                number,
                [(choice, label(condition) if callable(condition) else str(condition))],
            )
        ]


class ifs(Flow):  # noqa: N801 - the seeds' name
    """``ifs(condition, item, other)``: `item` where the condition is true of the input, else `other`.

    The condition is a callable that gets the positional arguments, or a bool.
    """

    _type = "IFS"

    def __init__(
        self,
        condition: Any,
        item: Function,
        other: Function,
        *,
        post_action: Callable[..., Any] | None = None,
    ) -> None:
        self._condition: Any = condition
        super().__init__(item, other, post_action=post_action)
        if not isinstance(condition, bool):
            self._checked(condition, "the condition")

    def _add(self, name: str | None, item: Any) -> None:
        if name is not None or len(self._functions) == 2:
            raise InvalidFlow("ifs takes its condition and its two items when it is made")
        super()._add(name, item)

    def _script(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Script:
        met = self._condition
        if callable(met):
            met = yield Call(met, args, f"condition {label(met)!r}")
        number = 0 if met else 1
        part = f"{'true' if met else 'false'} branch {self._label(number)!r}"
        return (yield Call(self._functions[number], args, part, kwargs))

    def _children(self) -> list[Function]:
        condition = [self._condition] if callable(self._condition) else []
        return [*condition, *self._functions]

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        text = label(self._condition) if callable(self._condition) else str(self._condition)
        choice = drawing.node(text, "{", "}")
        drawing.edges(ends, choice)
        yes = self._draw_item(drawing, 0, [(choice, "yes")])
        return [*yes, *self._draw_item(drawing, 1, [(choice, "no")])]


def _pairs(cases: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    if len(cases) == 1 and isinstance(cases[0], Mapping):
        return list(cases[0].items())
    if len(cases) % 2:
        raise InvalidFlow(
            f"a switch takes a dict of cases, or conditions and items in turn; "
            f"{len(cases)} arguments leave one without its partner"
        )
    return list(zip(cases[::2], cases[1::2], strict=True))


def _name(condition: Any) -> str:
    return repr(label(condition)) if callable(condition) else repr(condition)
