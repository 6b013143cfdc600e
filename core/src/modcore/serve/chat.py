"""``POST /v1/chat/completions``: answer a conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response

from modcore.engine import Choice
from modcore.serve.answers import collect, envelope, event_stream, while_connected
from modcore.serve.conversation import ChatBody
from modcore.serve.json_body import JsonRoute
from modcore.serve.logprobs import chat_logprobs, prompt_logprobs
from modcore.serve.observed import ObservedAnswer
from modcore.serve.protocol import callers_words
from modcore.serve.served import Served, served_by

router = APIRouter(route_class=JsonRoute)


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(body: ChatBody, request: Request) -> Response | dict[str, Any]:
    """Answer the conversation, rendered with the checkpoint's chat template; `n` choices."""
    served = served_by(request)
    served.verify_model(body.model)
    body.refuse_unserved()
    messages = body.conversation(reads_images=served.engine.engine.multimodal is not None)
    with callers_words(body.names()):
        submitted = served.submit([messages], body.chat_params(), body.request_priority())
        [answer] = await while_connected(request, submitted)
    if body.stream:
        return event_stream(lambda: _chunks(served, answer, body))
    return await while_connected(request, _whole(served, answer, body))


async def _whole(served: Served, answer: ObservedAnswer, body: ChatBody) -> dict[str, Any]:
    choices, usage = await collect(answer)
    whole = {
        **envelope("chatcmpl", "chat.completion", served.model_name),
        "choices": [_choice(served, choice) for choice in choices],
        "usage": usage.to_json(),
    }
    if body.prompt_logprobs is not None:
        whole["prompt_logprobs"] = prompt_logprobs(answer.prompt_logprobs, served.vocabulary)
    return whole


def _choice(served: Served, choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": {"role": "assistant", "content": choice.text, "refusal": None},
        "logprobs": chat_logprobs(choice.logprobs, served.vocabulary),
        "finish_reason": choice.finish_reason,
    }


async def _chunks(
    served: Served, answer: ObservedAnswer, body: ChatBody
) -> AsyncGenerator[dict[str, Any]]:
    head = envelope("chatcmpl", "chat.completion.chunk", served.model_name)
    async with answer:
        for index in range(body.n or 1):
            yield {**head, "choices": [_delta(index, {"role": "assistant", "content": ""})]}
        async for piece in answer:
            if piece.text or piece.logprobs:
                logprobs = chat_logprobs(piece.logprobs, served.vocabulary)
                delta = _delta(piece.index, {"content": piece.text}, logprobs)
                yield {**head, "choices": [delta]}
            if piece.finish_reason:
                yield {**head, "choices": [_delta(piece.index, {}, None, piece.finish_reason)]}
            if piece.usage and body.includes_usage:
                yield {**head, "choices": [], "usage": piece.usage.to_json()}


def _delta(
    index: int,
    delta: dict[str, str],
    logprobs: dict[str, Any] | None = None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
