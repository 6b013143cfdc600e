"""``POST /v1/completions``: continue prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response

from modcore.engine import Usage
from modcore.serve.answers import collect, envelope, event_stream, merge, total, while_connected
from modcore.serve.observed import ObservedAnswer
from modcore.serve.protocol import CompletionBody
from modcore.serve.served import Served, served_by

DEFAULT_MAX_TOKENS = 16  # OpenAI's

router = APIRouter()


@router.post("/v1/completions", response_model=None)
async def create_completion(body: CompletionBody, request: Request) -> Response | dict[str, Any]:
    """Continue each prompt of the body; one choice a prompt."""
    served = served_by(request)
    served.verify_model(body.model)
    body.refuse_unserved()
    max_tokens = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    params = body.sampling_params(max_tokens)
    answers = await served.submit_all(body.prompts(), params)
    if body.stream:
        return event_stream(lambda: _chunks(served, answers, body.includes_usage))
    return await while_connected(request, _whole(served, answers))


async def _whole(served: Served, answers: Sequence[ObservedAnswer]) -> dict[str, Any]:
    finished = await asyncio.gather(*map(collect, answers))
    return {
        **envelope("cmpl", "text_completion", served.model_name),
        "choices": [_choice(i, text, reason) for i, (text, reason, _) in enumerate(finished)],
        "usage": total([usage for *_, usage in finished]).to_json(),
    }


async def _chunks(
    served: Served, answers: Sequence[ObservedAnswer], includes_usage: bool
) -> AsyncGenerator[dict[str, Any]]:
    head = envelope("cmpl", "text_completion", served.model_name)
    usages: list[Usage] = []
    async with aclosing(merge(answers)) as pieces:
        async for index, piece in pieces:
            if piece.usage:
                usages.append(piece.usage)
            yield {**head, "choices": [_choice(index, piece.text, piece.finish_reason)]}
    if includes_usage:
        yield {**head, "choices": [], "usage": total(usages).to_json()}


def _choice(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
