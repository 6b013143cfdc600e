"""From the engine's pieces to answers: collected, merged, or streamed as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse

from modcore.engine import Choice, Piece, Usage
from modcore.errors import ModcoreError
from modcore.serve.call_watch import CallWatch
from modcore.serve.error_body import error_body
from modcore.serve.errors import public_error
from modcore.serve.observed import ObservedAnswer

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"


def envelope(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """What every answer and every chunk of a stream begins with."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


async def collect(answer: ObservedAnswer) -> tuple[list[Choice], Usage]:
    """The whole choices in their order, and the usage."""
    choices: dict[int, Choice] = {}
    async with answer:
        async for piece in answer:
            choices.setdefault(piece.index, Choice(piece.index)).add(piece)
            if piece.usage:
                return [choices[index] for index in sorted(choices)], piece.usage
    raise ModcoreError("The answer ended without a reason.")


def total(usages: Sequence[Usage]) -> Usage:
    """The usage of several answers together."""
    return Usage(
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.completion_tokens for usage in usages),
        sum(usage.cached_tokens for usage in usages),
    )


async def while_connected(request: Request, answer: Awaitable[T]) -> T:
    """`answer`, given up with CallerGone when the caller hangs up."""
    with CallWatch(request.receive) as watch:
        watch.mind_caller()
        return await answer


async def merge(answers: Sequence[ObservedAnswer]) -> AsyncGenerator[tuple[int, Piece]]:
    """The pieces of several answers as they come, each with the number of its answer."""
    queue: asyncio.Queue[tuple[int, Piece | Exception | None]] = asyncio.Queue()

    async def forward(index: int, answer: ObservedAnswer) -> None:
        try:
            async with answer:
                async for piece in answer:
                    queue.put_nowait((index, piece))
            queue.put_nowait((index, None))
        except Exception as error:
            queue.put_nowait((index, error))

    tasks = [asyncio.create_task(forward(i, answer)) for i, answer in enumerate(answers)]
    try:
        running = len(tasks)
        while running:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def event_stream(chunks: Callable[[], AsyncGenerator[dict[str, Any]]]) -> StreamingResponse:
    """`chunks` as a stream of events, closed by ``[DONE]``; an error on the way is the last event."""

    async def events() -> AsyncIterator[bytes]:
        try:
            async with aclosing(chunks()) as each:
                async for chunk in each:
                    yield event(chunk)
        except Exception as error:
            yield event(error_body(*public_error(error)))
        yield DONE

    return StreamingResponse(
        events(), media_type="text/event-stream", headers={"cache-control": "no-cache"}
    )
