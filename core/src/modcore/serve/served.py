"""What an application serves: one engine under one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from modcore.engine import Answer, AsyncEngine, Prompt, SamplingParams
from modcore.serve.errors import ModelNotFound


@dataclass(frozen=True, slots=True)
class Served:
    """The engine, the name it is served under, and when it came up (Unix seconds)."""

    engine: AsyncEngine
    model_name: str
    created: int

    def verify_model(self, name: str | None) -> None:
        """Raise ModelNotFound unless `name` is ours, or left out."""
        if name is not None and name != self.model_name:
            raise ModelNotFound(name, self.model_name)

    async def submit_all(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[Answer]:
        """Queue all of `prompts`, or none when one of them is refused."""
        answers: list[Answer] = []
        try:
            for prompt in prompts:
                answers.append(await self.engine.submit(prompt, params))  # noqa: PERF401
        except BaseException:
            for answer in answers:
                answer.close()
            raise
        return answers


def served_by(request: Request) -> Served:
    """What the application of `request` serves."""
    return cast(Served, request.app.state.served)
