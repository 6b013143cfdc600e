"""What a module takes: whether arguments fit, and how that is said."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modcore.flow.calls import is_flow, unbound
from modcore.flow.pipeline import pipeline
from modcore.module import ActionModule, ModuleBase
from modcore.serve.service.http import Refused

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """The parameters of the function that a call of `module` reaches first, where that can be known."""

    def __init__(self, module: ModuleBase) -> None:
        self.function = entry_of(module)
        self.signature = _signature(self.function) if self.function is not None else None
        parameters = list(self.signature.parameters.values()) if self.signature else []
        places = [each for each in parameters if each.kind in _BY_POSITION]
        has_more = not self.signature or any(
            each.kind is each.VAR_POSITIONAL for each in parameters
        )
        needs_names = any(
            each.kind is each.KEYWORD_ONLY and _is_needed(each) for each in parameters
        )
        self._least = math.inf if needs_names else sum(map(_is_needed, places))
        self._most = math.inf if has_more else len(places)

    def verify(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise Refused (422), which names the argument, when a call with these cannot work."""
        if self.signature is None or (not kwargs and self._least <= len(args) <= self._most):
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            name = self._culprit(args, kwargs)
            shown = getattr(self.function, "__name__", "the module")
            raise Refused(
                422, "TypeError", f"{shown}{self.signature}: {error}.", argument=name
            ) from None

    def _culprit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        assert self.signature
        parameters = self.signature.parameters
        takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        for name in kwargs:
            if not takes_any and (name not in parameters or parameters[name].kind not in _BY_NAME):
                return name
        if len(args) > self._most:
            return f"args[{self._most}]"
        taken = [each.name for each in parameters.values() if each.kind in _BY_POSITION][
            : len(args)
        ]
        for name in taken:
            if name in kwargs:
                return name
        missing = (each for each in parameters.values() if _is_needed(each))
        return next((each.name for each in missing if each.name not in (*taken, *kwargs)), "")


def entry_of(module: Any) -> Callable[..., Any] | None:
    """What a call of `module` gives its arguments to: through flows and modules; None where several do."""
    while True:
        if isinstance(module, ModuleBase) and not isinstance(module, ActionModule):
            return module.forward
        if isinstance(module, ActionModule):
            module = module.action
        if not is_flow(module):
            return module if callable(module) else None
        # What is bound fills in arguments of its own.
        if type(module) is not pipeline or not module._functions:
            return None
        module = module._functions[0]
        if unbound(module) is not module:
            return None


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # what is written in C need not have one
        return None


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )
