"""An answer on its way to a caller, with what the caller feels of it put into the metrics."""

from __future__ import annotations

import time
import weakref
from types import TracebackType
from typing import Self

from modcore.engine import Answer, Piece, Usage
from modcore.serve.metrics import Metrics


class ObservedAnswer:
    """`answer`, read in the same way; `started` is when it was asked for (`time.monotonic`).

    However it ends, it is counted once: an answer that is given up, or that nobody holds any more,
    as ``abort``.
    """

    def __init__(self, answer: Answer, metrics: Metrics, started: float) -> None:
        self._answer = answer
        self._times = _Times(metrics, started)
        finalizer = weakref.finalize(self, self._times.end, "abort")
        finalizer.atexit = False

    def close(self) -> None:
        """End the request, if it has not ended."""
        self._times.end("abort")
        self._answer.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        try:
            piece = await self._answer.__anext__()
        except Exception as error:
            if not isinstance(error, StopAsyncIteration):
                self._times.end("error")
            raise
        if piece.token_ids:
            self._times.piece()
        if piece.finish_reason:
            self._times.end(piece.finish_reason, piece.usage)
        return piece

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Times:
    """When an answer was asked for and when its pieces came."""

    def __init__(self, metrics: Metrics, started: float) -> None:
        self._metrics = metrics
        self._started = started
        self._latest: float | None = None
        self._ended = False

    def piece(self) -> None:
        """A piece has come."""
        now = time.monotonic()
        if self._latest is None:
            self._metrics.time_to_first_token.observe(now - self._started)
        else:
            self._metrics.inter_token_latency.observe(now - self._latest)
        self._latest = now

    def end(self, reason: str, usage: Usage | None = None) -> None:
        """The answer has ended; only the first reason counts."""
        if self._ended:
            return
        self._ended = True
        self._metrics.count_end(reason)
        if reason in ("stop", "length") and usage:
            self._metrics.e2e_latency.observe(time.monotonic() - self._started)
            self._metrics.prompt_tokens.observe(usage.prompt_tokens)
            self._metrics.generation_tokens.observe(usage.completion_tokens)
