"""A scheduler run without a model: random workloads, and what must hold after every step."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from modcore.engine.admission import LengthEstimator
from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.radix import PrefixCache
from modcore.engine.request import Request
from modcore.engine.scheduler import Chunks, Scheduler


class Scripted:
    """Ends an answer after `length` tokens, as an end-of-text token would."""

    is_complete = False

    def __init__(self, length: int) -> None:
        self.left = length

    def accept(self, token: int) -> None:
        """See `SamplingState.accept`."""
        self.left -= 1

    def ends(self, token: int) -> bool:
        """See `SamplingState.ends`."""
        return self.left <= 1


def scripted(
    prompt: Iterable[int], length: int, limit: int | None = None, **options: Any
) -> Request:
    """A request that writes `length` tokens and was allowed `limit`."""
    return Request(list(prompt), limit or length, Scripted(length), **options)  # type: ignore[arg-type]


def next_token(tokens: list[int]) -> int:
    """What the imagined model writes: decided by the text alone."""
    return (31 * tokens[-1] + len(tokens)) % 50


@dataclass
class World:
    """A scheduler, and the content that each KV row would have."""

    tokens: int
    lines: int = 8
    has_cache: bool = True
    lengths: LengthEstimator | None = None
    chunks: Chunks = Chunks(busy=8, idle=32)  # noqa: RUF009  frozen
    steps: int = 0
    finished: list[Request] = field(default_factory=list)
    content: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        device = torch.device("cpu")
        self.memory = MemoryManager(self.tokens, 1, 1, 1, torch.float32, device)
        table = RequestTable(self.lines, width=4)
        cache = PrefixCache(self.memory) if self.has_cache else None
        self.scheduler = Scheduler(
            self.memory, table, cache=cache, lengths=self.lengths, chunks=self.chunks
        )

    def add(self, *requests: Request) -> None:
        """Queue `requests`."""
        for request in requests:
            self.scheduler.add(request)

    def step(self) -> list[Request]:
        """Plan, compute, and let every request that has read its text write a token."""
        self.steps += 1
        requests = self.scheduler.plan().requests
        assert len(set(requests)) == len(requests)
        for request in requests:
            self._fill(request)
        for request in requests:
            writes = request.rows_held == len(request.tokens)
            self.scheduler.advance(request)
            if writes:
                request.accept(next_token(request.tokens))
            if request.is_done:
                self.scheduler.finish(request, is_complete=True)
                self.finished.append(request)
        self.verify()
        return requests

    def run(self, most: int = 100_000) -> None:
        """Step until nothing is left to do."""
        while self.scheduler.has_work:
            assert self.step() or not self.scheduler.has_work, "nothing runs, and something waits"
            assert self.steps < most, "requests wait for ever"

    def _fill(self, request: Request) -> None:
        """The rows of the new tokens get the content that they would have alone."""
        for place in range(request.rows_filled, request.rows_held):
            row = int(self.scheduler.table.rows[request.line, place])
            self.content[row] = hash(tuple(request.tokens[: place + 1]))

    def verify(self) -> None:
        """Every running request sees its own text, and every row has one owner."""
        scheduler = self.scheduler
        assert len(scheduler.running) <= self.lines
        owned: list[int] = []
        for request in scheduler.running:
            rows = scheduler.table.rows[request.line, : request.rows_held].tolist()
            for place in range(request.rows_filled):
                assert self.content[rows[place]] == hash(tuple(request.tokens[: place + 1]))
            owned += rows[request.rows_shared :]
        cached = 0
        if scheduler.cache:
            owned += scheduler.cache.rows().tolist()
            cached = scheduler.cache.tokens
            assert 0 <= scheduler.cache.held_tokens <= cached
        assert len(set(owned)) == len(owned)
        assert len(owned) + self.memory.free_tokens == self.tokens


def random_request(rng: random.Random, capacity: int, most: int = 60) -> Request:
    """A request that fits into `capacity` alone; half of them begin with one of a few prefixes."""
    length = rng.randint(1, min(most, capacity - 1))
    prefix = [rng.randrange(3)] * rng.choice([0, 0, 5, 20])
    prompt = (prefix + [rng.randrange(50) for _ in range(length)])[:length]
    limit = rng.randint(1, min(most, capacity - length))
    return scripted(
        prompt,
        rng.randint(1, limit),
        limit,
        priority=rng.choice([0, 0, 0, 1, -1]),
        uses_prefix_cache=rng.random() < 0.9,
        reads_at_once=rng.random() < 0.05,
    )
