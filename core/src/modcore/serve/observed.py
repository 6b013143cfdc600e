"""An answer on its way to a caller, with what the caller feels of it put into the metrics."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from modcore.engine import Answer, Piece, Usage
from modcore.engine.job import Job
from modcore.engine.sampling import TokenLogprob
from modcore.serve.metrics import Metrics


class ObservedAnswer:
    """`answer`, read in the same way; `started` is when it was asked for (`time.monotonic`).

    However it ends, and however many choices it has, it is counted once: an answer that is given up,
    or that nobody holds any more, as ``abort``; one of several choices as ``length`` when one of them is.
    """

    def __init__(self, answer: Answer, metrics: Metrics, started: float) -> None:
        self._answer = answer
        self._times = _Times(metrics, started, answer.job)
        finalizer = weakref.finalize(self, self._times.end, "abort")
        finalizer.atexit = False

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's tokens."""
        first = self._answer.job.requests[0]
        return first.tokens[: first.prompt_length]

    @property
    def prompt_logprobs(self) -> Sequence[TokenLogprob | None] | None:
        """The log probabilities of `prompt_ids` once they are read, if they were asked for."""
        return self._answer.job.prompt_logprobs

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
        self._times.piece(piece)
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

    def __init__(self, metrics: Metrics, started: float, job: Job) -> None:
        self._metrics = metrics
        self._started = started
        self._job = job
        self._latest: dict[int, float] = {}  # by choice
        self._reasons: set[str] = set()
        self._ended = False

    def piece(self, piece: Piece) -> None:
        """A piece has come."""
        if piece.token_ids:
            now = time.monotonic()
            if not self._latest:
                self._metrics.time_to_first_token.observe(now - self._started)
            elif piece.index in self._latest:
                self._metrics.inter_token_latency.observe(now - self._latest[piece.index])
            self._latest[piece.index] = now
        if piece.finish_reason:
            self._reasons.add(piece.finish_reason)
        if piece.usage:
            reason = next(why for why in ("abort", "length", "stop") if why in self._reasons)
            self.end(reason, piece.usage)

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
            self._metrics.observe_phases(self._job.moments)
