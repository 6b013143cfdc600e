"""Which functions of a plugin implement which hooks, and which of them fit no spec."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from modcore.plugins import hookspecs

SPECS: dict[str, Callable[..., Any]] = {
    name: spec for name, spec in vars(hookspecs).items() if name.startswith("modcore_")
}


def implementations(plugin: object) -> tuple[dict[str, Callable[..., Any]], list[str]]:
    """The hooks that `plugin` implements, and what is wrong with each function that fits no spec."""
    marked = _marked_functions(plugin)
    faults = {name: _fault(name, function) for name, function in marked.items()}
    hooks = {name: function for name, function in marked.items() if not faults[name]}
    complaints = [
        fault
        for name, fault in faults.items()
        if fault and not _mark(marked[name]).get("optionalhook")
    ]
    return hooks, complaints


def is_wrapper(function: object) -> bool:
    """Whether a hook wraps the others, in either of pluggy's two ways."""
    mark = _mark(function)
    return bool(mark.get("wrapper") or mark.get("hookwrapper"))


def _mark(function: object) -> dict[str, Any]:
    """The options that `hookimpl` left on a function; empty when it did not."""
    mark = getattr(function, f"{hookspecs.PROJECT}_impl", None)
    return mark if isinstance(mark, dict) else {}


def _marked_functions(plugin: object) -> dict[str, Callable[..., Any]]:
    found = {name: getattr(plugin, name, None) for name in dir(plugin)}
    return {name: value for name, value in found.items() if callable(value) and _mark(value)}


def _fault(name: str, function: Callable[..., Any]) -> str | None:
    """Why `function` is not the hook `name` as its spec describes it, or None."""
    spec = SPECS.get(name)
    if spec is None:
        return f"implements the unknown hook {name}; {_suggestion(name, SPECS)}"
    known = inspect.signature(spec).parameters
    for argument in _arguments(function):
        if argument not in known:
            return f"gives {name} the unknown argument {argument}; {_suggestion(argument, known)}"
    if is_wrapper(function) and not inspect.isgeneratorfunction(function):
        return f"declares {name} a wrapper, but it is no generator function: it has to yield once;"
    return None


def _arguments(function: Callable[..., Any]) -> list[str]:
    """The arguments that pluggy passes: those by position that have no default."""
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)};"
