"""ActionModule: a flow, or several callables one after the other, as a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from modcore.flow import pipeline
from modcore.flow.tree import describe, drawn_once, make_repr
from modcore.module.base import ModuleBase


class ActionModule(ModuleBase):
    """Calls `action` one after the other; the modules in them are its submodules."""

    def __init__(
        self, *action: Callable[..., Any], name: str | None = None, return_trace: bool = False
    ) -> None:
        super().__init__(name=name, return_trace=return_trace)
        self.action = pipeline(*action)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The flow's result."""
        return self.action(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """The flow's own async form, so that its branches run on the event loop."""
        if self._extras is None:
            return await self.action.acall(*args, **kwargs)
        result = await super().acall(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    @drawn_once
    def __repr__(self) -> str:
        attributes = {
            "return_trace": self.return_trace,
            "sub-category": "Flow",
            "type": "Pipeline",
            "items": [],
        }
        items = map(describe, self.action._shown_items())
        return make_repr("Module", "Action", name=self.name, attrs=attributes, subs=items)
