"""Drawing a tree of flows and Modules as text, with the spacings of the Module seed.

<Flow type=Pipeline items=[]>
|- <Module type=MyModule name=m1>
└- <Flow type=Parallel items=[]>
└- <Function type=parse>
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    type,
)


#: Levels that are drawn; a person reads no deeper tree, and Python's stack bears none much deeper.
DEEPEST = 50


@dataclass(slots=True)
class _Drawing:
    """A tree that is being drawn: how deep we are, and the first lines of what is in it already."""

    depth: int = 0
    heads: dict[int, str] = field(default_factory=dict)


_drawing: ContextVar[_Drawing | None] = ContextVar("modcore_drawing", default=None)


def drawn_once(draw: Callable[[Any], str]) -> Callable[[Any], str]:
    """A ``__repr__`` whose tree is drawn where it first occurs in a larger one.

    Later it is one line, marked ``(above)``, if there is something below it. What holds itself, and
    what lies deeper than DEEPEST, is ``<...>``.
    """

    @functools.wraps(draw)
    def draw_once(item: Any) -> str:
        drawing = _drawing.get()
        if drawing is None:
            token = _drawing.set(_Drawing())
            try:
                return draw_once(item)
            finally:
                _drawing.reset(token)
        if id(item) in drawing.heads:
            return drawing.heads[id(item)]
        if drawing.depth == DEEPEST:
            return "<...>"
        drawing.heads[id(item)] = "<...>"
        drawing.depth += 1
        try:
            tree = draw(item)
        finally:
            drawing.depth -= 1
        head, *below = tree.split("\n", 1)
        drawing.heads[id(item)] = f"{head} (above)" if below else head
        return tree

    return draw_once


def make_repr(
    category: str,
    type: str | type[Any],
    *,
    name: str | None = None,
    attrs: Mapping[str, Any] | None = None,
    subs: Iterable[str] | None = None,
) -> str:
    """``<category type=type name=name key=value …>`` and below it `subs`, the children's trees."""
    fields = [("type", type if isinstance(type, str) else type.__name__)]
    if name:
        fields.append(("name", _one_line(name)))
    fields.extend((attrs or {}).items())
    head = " ".join([category, *(f"{key}={value}" for key, value in fields)])
    return "\n".join([f"<{head}>", *_branches(list(subs or ()))])


def _one_line(name: object) -> str:
    text = str(name)
    return text if text.isprintable() else repr(text)[1:-1]


def _branches(subs: list[str]) -> Iterable[str]:
    for number, sub in enumerate(subs, 1):
        last = number == len(subs)
        first, *rest = sub.rstrip("\n").split("\n")
        yield ("└- " if last else "|- ") + first
        yield from (("    " if last else "|   ") + line for line in rest)


def describe(item: Any) -> str:
    """The tree of one item: its own repr if it has one, otherwise ``<Function type=its name>``."""
    shown_by: Any = type(item).__repr__
    if isinstance(item, _FUNCTIONS) or shown_by is object.__repr__:
        return make_repr("Function", label(item))
    return repr(item)


def label(item: Any) -> str:
    """What to call `item` in a sentence: its ``__name__``, its ``name``, or its type's name."""
    if isinstance(item, functools.partial):
        return label(item.func)
    for attribute in ("__name__", "name"):
        found = getattr(item, attribute, None)
        if isinstance(found, str) and found:
            return found
    return type(item).__name__
