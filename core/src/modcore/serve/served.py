"""What an application serves: one engine under one name."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from modcore.engine import AsyncEngine, Prompt, SamplingParams
from modcore.serve.errors import ModelNotFound
from modcore.serve.logprobs import Vocabulary
from modcore.serve.metrics import Metrics
from modcore.serve.observed import ObservedAnswer


@dataclass(frozen=True)
class Served:
    """The engine, the name it is served under, when it came up (Unix seconds), its metrics."""

    engine: AsyncEngine
    model_name: str
    created: int
    metrics: Metrics

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The engine's tokens as text."""
        return Vocabulary(self.engine.engine)

    def verify_model(self, name: str | None) -> None:
        """Raise ModelNotFound unless `name` is ours, or left out."""
        if name is not None and name != self.model_name:
            raise ModelNotFound(name, self.model_name)

    async def submit(
        self, prompts: Sequence[Prompt], params: SamplingParams, priority: int = 0
    ) -> list[ObservedAnswer]:
        """Queue all of `prompts`, or none when one of them is refused; see `AsyncEngine.submit_all`."""
        started = time.monotonic()
        answers = await self.engine.submit_all(prompts, params, priority=priority)
        return [ObservedAnswer(answer, self.metrics, started) for answer in answers]


def served_by(request: Request) -> Served:
    """What the application of `request` serves."""
    return cast(Served, request.app.state.served)
