"""How a target is driven: no more at a time than said, each within its time, no end without hope."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from modcore.bench.drive import Run
from modcore.bench.measurement import Measurement
from modcore.bench.report import Report
from modcore.bench.settings import Lengths, Settings
from modcore.bench.workload import BenchRequest
from modcore.errors import ServiceError

Answer = Callable[[BenchRequest, Measurement], Awaitable[None]]


class Stand:
    """A target that answers as `answer` does, and counts who is under way."""

    kind, name, model = "url", "http://here", "none"
    vocab_size, context = 100, None

    def __init__(self, answer: Answer) -> None:
        self.details: dict[str, Any] = {}
        self.answer = answer
        self.asked = self.running = self.most = 0

    async def ask(self, request: BenchRequest, measurement: Measurement) -> None:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            measurement.sent()
            await self.answer(request, measurement)
        finally:
            self.running -= 1


async def answer(request: BenchRequest, measurement: Measurement) -> None:
    for _ in range(request.max_tokens):
        await asyncio.sleep(0)
        measurement.piece()


async def refuse(request: BenchRequest, measurement: Measurement) -> None:
    raise ServiceError("no room")


async def hang(request: BenchRequest, measurement: Measurement) -> None:
    await asyncio.Event().wait()


def settings(**changes: Any) -> Settings:
    defaults: dict[str, Any] = {
        "concurrency": (3,),
        "prompt_tokens": Lengths(8, 8),
        "output_tokens": Lengths(4, 4),
        "seed": 1,
        "warmup": 0,
    }
    return Settings(**{**defaults, **changes})


async def report(target: Stand, **changes: Any) -> Report:
    run = Run(target, settings(**changes))
    await run.run()
    return Report.of(run)


async def test_each_level_has_its_requests_with_so_many_at_a_time() -> None:
    target = Stand(answer)
    done = await report(target, concurrency=(1, 3, 7), requests=20)
    assert [level.completed for level in done.levels] == [20, 20, 20]
    assert [level.total_output_tokens for level in done.levels] == [80, 80, 80]
    assert [level.total_input_tokens for level in done.levels] == [160, 160, 160]
    assert target.most == 7
    assert done.measured


async def test_warmup_is_asked_and_not_counted() -> None:
    target = Stand(answer)
    done = await report(target, warmup=5, requests=4)
    assert target.asked == 9
    assert done.levels[0].completed == 4


async def test_answer_that_takes_too_long_is_a_failure_that_says_so() -> None:
    target = Stand(hang)
    done = await report(target, requests=3, timeout=0.05)
    assert (done.levels[0].completed, done.levels[0].failed) == (0, 3)
    assert done.levels[0].first_error == "No whole answer within 0.05 seconds."
    assert target.running == 0
    assert not done.measured


async def test_failures_are_counted_beside_what_succeeds() -> None:
    async def sometimes(request: BenchRequest, measurement: Measurement) -> None:
        await (refuse if target.asked % 3 == 0 else answer)(request, measurement)

    target = Stand(sometimes)
    done = await report(target, requests=30)
    level = done.levels[0]
    assert (level.completed, level.failed, level.errors) == (20, 10, {"no room": 10})
    assert level.total_output_tokens == 80
    assert done.measured


@pytest.mark.parametrize("rate", [None, 10_000.0])
async def test_target_that_only_fails_is_given_up(rate: float | None) -> None:
    target = Stand(refuse)
    done = await report(target, concurrency=(2, 4), requests=100_000, request_rate=rate)
    assert target.asked < 50
    assert len(done.levels) == 1, "there is no hope for the next level either"


async def test_arrivals_are_random_around_the_rate_and_limited_by_the_concurrency() -> None:
    async def slowly(request: BenchRequest, measurement: Measurement) -> None:
        await asyncio.sleep(0.01)
        measurement.piece()

    target = Stand(slowly)
    start = time.perf_counter()
    done = await report(target, requests=50, request_rate=1000.0)
    assert target.most == 3
    assert done.levels[0].completed == 50
    # Three at a time take a hundredth of a second each: the requests come much faster than that.
    assert time.perf_counter() - start >= 50 / 3 * 0.01
    spread = done.levels[0].latencies["ttft"]
    assert spread and spread.median > 2 * 10, "the wait for a place is part of the latency"


async def test_interrupted_run_reports_what_there_is() -> None:
    enough = asyncio.Event()

    async def five(request: BenchRequest, measurement: Measurement) -> None:
        if target.asked > 5:
            enough.set()
            await hang(request, measurement)
        await answer(request, measurement)

    target = Stand(five)
    run = Run(target, settings(concurrency=(1, 3), requests=10))
    task = asyncio.create_task(run.run())
    await enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    done = Report.of(run, interrupted=True)
    assert [level.completed for level in done.levels] == [5]
    assert done.levels[0].failed == 0
    assert done.levels[0].duration > 0
    assert done.to_json()["interrupted"] is True
