"""What an application serves: one engine under one name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from modcore.engine import AsyncEngine, Prompt, SamplingParams
from modcore.serve.errors import ModelNotFound
from modcore.serve.metrics import Metrics
from modcore.serve.observed import ObservedAnswer


@dataclass(frozen=True, slots=True)
class Served:
    """The engine, the name it is served under, when it came up (Unix seconds), its metrics."""

    engine: AsyncEngine
    model_name: str
    created: int
    metrics: Metrics

    def verify_model(self, name: str | None) -> None:
        """Raise ModelNotFound unless `name` is ours, or left out."""
        if name is not None and name != self.model_name:
            raise ModelNotFound(name, self.model_name)

    async def submit(self, prompt: Prompt, params: SamplingParams) -> ObservedAnswer:
        """Queue `prompt`; raises what `AsyncEngine.submit` raises."""
        started = time.monotonic()
        return ObservedAnswer(await self.engine.submit(prompt, params), self.metrics, started)

    async def submit_all(
        self, prompts: Sequence[Prompt], params: SamplingParams
    ) -> list[ObservedAnswer]:
        """Queue all of `prompts`, or none when one of them is refused."""
        answers: list[ObservedAnswer] = []
        try:
            for prompt in prompts:
                answers.append(await self.submit(prompt, params))  # noqa: PERF401
        except BaseException:
            for answer in answers:
                answer.close()
            raise
        return answers


def served_by(request: Request) -> Served:
    """What the application of `request` serves."""
    return cast(Served, request.app.state.served)
