"""One request as it was answered, and who answers: the border between driving and asking."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field
from typing import Any, Protocol

from modcore.bench.workload import BenchRequest


@dataclass(slots=True)
class Measurement:
    """When the pieces of one answer came; times are `time.perf_counter` seconds.

    started: when the request was sent, or, with a request rate, when it was due.
    pieces:  when each piece came; a piece is a token, or several that make a character together.
    error:   why there is no whole answer.
    """

    prompt_tokens: int
    started: float | None = None
    output_tokens: int = 0
    pieces: array[float] = field(default_factory=lambda: array("d"))
    error: str | None = None

    def sent(self) -> None:
        """The request is on its way."""
        if self.started is None:
            self.started = time.perf_counter()

    def piece(self, tokens: int = 1) -> None:
        """A piece of `tokens` tokens has come."""
        self.pieces.append(time.perf_counter())
        self.output_tokens += tokens

    @property
    def succeeded(self) -> bool:
        """Whether there is a whole answer."""
        return self.error is None and self.started is not None and len(self.pieces) > 0

    # Of those that succeeded, in seconds:

    @property
    def ttft(self) -> float:
        """Time to first token."""
        assert self.started is not None
        return self.pieces[0] - self.started

    @property
    def itl(self) -> list[float]:
        """Inter-token latencies: from each piece to the next."""
        return [late - early for early, late in zip(self.pieces, self.pieces[1:], strict=False)]

    @property
    def e2el(self) -> float:
        """End-to-end latency: until the last token."""
        assert self.started is not None
        return self.pieces[-1] - self.started

    @property
    def tpot(self) -> float | None:
        """Time per output token after the first; None when there is only one."""
        rest = self.output_tokens - 1
        return (self.e2el - self.ttft) / rest if rest > 0 else None


class Target(Protocol):
    """Who is measured."""

    kind: str  # "checkpoint" or "url"
    name: str  # as it was given
    model: str
    vocab_size: int  # ids of prompts are below it
    context: int | None  # tokens of a prompt and its answer, when it is known
    details: dict[str, Any]  # what else a reader of the figures has to know

    async def ask(self, request: BenchRequest, measurement: Measurement) -> None:
        """Send `request` and note in `measurement` what comes; raises when there is no answer."""
        ...
