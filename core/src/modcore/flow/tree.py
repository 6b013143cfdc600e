"""Drawing a tree of flows and Modules as text, with the spacings of the Module seed.

<Flow type=Pipeline items=[]>
|- <Module type=MyModule name=m1>
└- <Flow type=Parallel items=[]>
└- <Function type=parse>
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping
from typing import Any

_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    type,
)


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
        fields.append(("name", name))
    fields.extend((attrs or {}).items())
    head = " ".join([category, *(f"{key}={value}" for key, value in fields)])
    return "\n".join([f"<{head}>", *_branches(list(subs or ()))])


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
