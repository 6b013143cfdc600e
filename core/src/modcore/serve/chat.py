"""``POST /v1/chat/completions``: answer a conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response

from modcore.errors import InvalidRequest
from modcore.serve.answers import collect, envelope, event_stream, while_connected
from modcore.serve.observed import ObservedAnswer
from modcore.serve.protocol import ChatBody
from modcore.serve.served import Served, served_by

router = APIRouter()


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(body: ChatBody, request: Request) -> Response | dict[str, Any]:
    """Answer the conversation, rendered with the checkpoint's chat template."""
    served = served_by(request)
    served.verify_model(body.model)
    body.refuse_unserved()
    messages = [message.to_template() for message in body.messages]
    try:
        answer = await served.submit(messages, body.chat_params())
    except InvalidRequest as error:
        param = "messages" if error.param == "prompt" else error.param
        raise InvalidRequest(str(error), param=param) from error
    if body.stream:
        return event_stream(lambda: _chunks(served, answer, body.includes_usage))
    return await while_connected(request, _whole(served, answer))


async def _whole(served: Served, answer: ObservedAnswer) -> dict[str, Any]:
    text, reason, usage = await collect(answer)
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        **envelope("chatcmpl", "chat.completion", served.model_name),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": usage.to_json(),
    }


async def _chunks(
    served: Served, answer: ObservedAnswer, includes_usage: bool
) -> AsyncGenerator[dict[str, Any]]:
    head = envelope("chatcmpl", "chat.completion.chunk", served.model_name)
    yield {**head, "choices": [_delta({"role": "assistant", "content": ""}, None)]}
    async with answer:
        async for piece in answer:
            if piece.text:
                yield {**head, "choices": [_delta({"content": piece.text}, None)]}
            if piece.finish_reason and piece.usage:
                yield {**head, "choices": [_delta({}, piece.finish_reason)]}
                if includes_usage:
                    yield {**head, "choices": [], "usage": piece.usage.to_json()}


def _delta(delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
