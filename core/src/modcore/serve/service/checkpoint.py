"""A module that is a checkpoint speaks the OpenAI API as well."""

from __future__ import annotations

import sys
from typing import Any

from starlette.types import ASGIApp

from modcore.module import ModuleBase


class CheckpointApi:
    """``/v1/*`` over the engine of a module, under the name `model_name`."""

    def __init__(self, engine: Any, model_name: str) -> None:
        from modcore.engine import AsyncEngine
        from modcore.serve.app import create_app

        self.model_name = model_name
        self._engine = engine if isinstance(engine, AsyncEngine) else AsyncEngine(engine)
        # The service has asked for the token already.
        app = create_app(self._engine, model_name)
        self.app: ASGIApp = app
        self.metrics: Any = app.state.served.metrics.registry

    def shut_down(self) -> None:
        """End what is still being answered, with an error."""
        self._engine.shut_down()


def engine_of(module: ModuleBase) -> Any:
    """The engine that `module` holds (itself, or in what it has deployed), or None."""
    home = sys.modules.get("modcore.engine.engine")
    if home is None:  # nobody has made one
        return None
    from modcore.engine import AsyncEngine, Engine

    held = list(vars(module).values())
    for value in (*held, *(getattr(each, "engine", None) for each in held)):
        if isinstance(value, (Engine, AsyncEngine)):
            return value
    return None


def model_name_of(module: Any, service: str) -> str:
    """What clients call the model: the service's name, else the checkpoint directory's."""
    base = getattr(module, "base_model", None)
    return service or (base.resolve().name if base is not None else type(module).__name__)
