"""Ten thousand random requests, many of them given up: every one ends, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from modcore.engine import AsyncEngine, SamplingParams
from modcore.engine.admission import PastFuture
from waiting import await_until

pytestmark = pytest.mark.fault

COUNT = 10_000
AT_ONCE = 200


def resident_mb() -> float:
    """The memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def random_params(rng: random.Random) -> SamplingParams:
    return SamplingParams(
        max_tokens=rng.randint(1, 24),
        temperature=rng.choice([0.0, 1.0]),
        top_p=rng.choice([1.0, 0.9]),
        n=rng.choice([1, 1, 1, 2]),
        logprobs=rng.choice([None, None, 2]),
        repetition_penalty=rng.choice([1.0, 1.0, 1.2]),
        stop=rng.choice([(), ("e",), ("zz", "qu")]),
        seed=rng.randrange(1000),
        prefix_cache=rng.random() < 0.9,
        ignore_eos=rng.random() < 0.5,
    )


@pytest.mark.timeout(900)
async def test_every_request_ends_and_memory_stays_level(text_checkpoint: Path) -> None:
    engine = AsyncEngine.from_pretrained(
        text_checkpoint,
        max_waiting=COUNT,
        kv_tokens=1500,
        max_batch=32,
        lengths=PastFuture(seed=1),
    )
    rng = random.Random(0)
    prefixes = [[rng.randrange(5, 150) for _ in range(40)] for _ in range(5)]
    gate = asyncio.Semaphore(AT_ONCE)
    ends: dict[str, int] = {}
    memory: list[float] = []

    async def one(place: int) -> None:
        prompt = rng.choice([[], [], *prefixes]) + [
            rng.randrange(5, 150) for _ in range(rng.randint(1, 40))
        ]
        params, leaves_after = random_params(rng), rng.choice([None, None, None, 0, 1, 4])
        async with gate, await engine.submit(prompt, params, priority=rng.randrange(3)) as answer:
            seen = 0
            reason = "left"
            async for piece in answer:
                seen += 1
                if piece.usage:
                    reason = str(piece.finish_reason)
                if leaves_after is not None and seen > leaves_after:
                    break
        ends[reason] = ends.get(reason, 0) + 1
        if place % 1000 == 999:
            memory.append(resident_mb())

    await asyncio.gather(*(one(place) for place in range(COUNT)))
    assert sum(ends.values()) == COUNT
    assert min(ends["stop"], ends["length"], ends["left"]) > 300
    await await_until(
        lambda: not (engine.engine.stats().running or engine.engine.stats().kv_tokens_used)
    )
    assert engine.engine.stats().waiting == 0
    # Kernels are prepared for every number of tokens that a step has had; then nothing grows.
    assert memory[-1] - memory[-4] < 60, memory
    await asyncio.to_thread(engine.close)
    held = engine.engine.scheduler
    held.holdings.clear()
    assert held.memory.free_tokens == held.memory.tokens
