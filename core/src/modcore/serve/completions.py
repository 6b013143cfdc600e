"""``POST /v1/completions``: continue prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response

from modcore.engine import Choice, Piece, SamplingParams, Usage
from modcore.serve.answers import collect, envelope, event_stream, merge, total, while_connected
from modcore.serve.json_body import JsonRoute
from modcore.serve.logprobs import CompletionLogprobs, joined, prompt_logprobs
from modcore.serve.observed import ObservedAnswer
from modcore.serve.protocol import CompletionBody, callers_words
from modcore.serve.served import Served, served_by

DEFAULT_MAX_TOKENS = 16  # OpenAI's

router = APIRouter(route_class=JsonRoute)


@router.post("/v1/completions", response_model=None)
async def create_completion(body: CompletionBody, request: Request) -> Response | dict[str, Any]:
    """Continue each prompt of the body, `n` choices a prompt."""
    served = served_by(request)
    served.verify_model(body.model)
    body.refuse_unserved()
    prompts = body.prompts()
    with callers_words(body.names()):
        params = body.completion_params(len(prompts), DEFAULT_MAX_TOKENS)
        submitted = served.submit(prompts, params, body.request_priority())
        answers = await while_connected(request, submitted)
    shown = [
        _Shown(served, answer, params, prompt if body.is_echoed else None)
        for answer, prompt in zip(answers, prompts, strict=True)
    ]
    if body.stream:
        return event_stream(lambda: _chunks(served, shown, body.includes_usage))
    return await while_connected(request, _whole(served, shown, body))


async def _whole(served: Served, shown: list[_Shown], body: CompletionBody) -> dict[str, Any]:
    finished = await asyncio.gather(*(collect(each.answer) for each in shown))
    choices: list[dict[str, Any]] = []
    for place, (each, (answered, _)) in enumerate(zip(shown, finished, strict=True)):
        more: dict[str, Any] = {}
        if body.prompt_logprobs is not None:
            read = prompt_logprobs(each.answer.prompt_logprobs, served.vocabulary)
            more = {"prompt_logprobs": read}
        choices += [{**each.choice(place, choice), **more} for choice in answered]
    return {
        **envelope("cmpl", "text_completion", served.model_name),
        "choices": choices,
        "usage": total([usage for _, usage in finished]).to_json(),
    }


async def _chunks(
    served: Served, shown: list[_Shown], includes_usage: bool
) -> AsyncGenerator[dict[str, Any]]:
    head = envelope("cmpl", "text_completion", served.model_name)
    usages: list[Usage] = []
    async with aclosing(merge([each.answer for each in shown])) as pieces:
        async for place, piece in pieces:
            if piece.usage:
                usages.append(piece.usage)
            yield {**head, "choices": [shown[place].choice(place, piece)]}
    if includes_usage:
        yield {**head, "choices": [], "usage": total(usages).to_json()}


class _Shown:
    """One prompt's `answer` as a completion shows it, with the prompt before it when there is an `echo`."""

    def __init__(
        self,
        served: Served,
        answer: ObservedAnswer,
        params: SamplingParams,
        echo: str | list[int] | None,
    ) -> None:
        self.answer = answer
        self._choices = params.n
        self._echo = None if echo is None else _as_text(served, echo)
        self._begun: set[int] = set()
        self._logprobs = (
            None
            if params.logprobs is None
            else [CompletionLogprobs(served.vocabulary) for _ in range(params.n)]
        )

    def choice(self, place: int, part: Piece | Choice) -> dict[str, Any]:
        """`part`, the next one of a choice, for the answer to the prompt at `place`."""
        echo = None if part.index in self._begun else self._echo
        self._begun.add(part.index)
        return {
            "index": place * self._choices + part.index,
            "text": (echo or "") + part.text,
            "logprobs": self._logprobs_of(part, echo),
            "finish_reason": part.finish_reason,
        }

    def _logprobs_of(self, part: Piece | Choice, echo: str | None) -> dict[str, Any] | None:
        if self._logprobs is None:
            return None
        shape = self._logprobs[part.index]
        read = self.answer.prompt_logprobs
        parts: list[dict[str, Any]] = []
        if echo is not None and read is not None:
            parts.append(shape.prompt(self.answer.prompt_ids, read, echo))
        return joined([*parts, shape.answer(part.logprobs or [])])


def _as_text(served: Served, prompt: str | list[int]) -> str:
    if isinstance(prompt, str):
        return prompt
    engine = served.engine.engine
    return engine.tokenizer.decode(prompt) if engine.preparer.prompts.has_tokenizer else ""
