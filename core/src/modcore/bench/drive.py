"""Driving a target: so many requests at a time, or as they arrive, each within its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from modcore.bench.http import reason_of
from modcore.bench.measurement import Measurement, Target
from modcore.bench.settings import Settings
from modcore.bench.workload import BenchRequest, Workload
from modcore.errors import ModcoreError

#: A level is given up after so many failures in a row (or twice its concurrency).
_HOPELESS = 20


@dataclass(slots=True)
class Level:
    """What was measured at one concurrency, so far; `duration` is in seconds."""

    concurrency: int
    planned: int
    request_rate: float | None = None
    measurements: list[Measurement] = field(default_factory=list)
    duration: float = 0.0


class Run:
    """The levels of `settings`, measured at `target`.

    `levels` holds what there is at any time, so an interrupted run has a report too. `on_answer` is
    called after each answer.
    """

    def __init__(
        self, target: Target, settings: Settings, on_answer: Callable[[Level], None] | None = None
    ) -> None:
        settings.verify_context(target.context)
        self.target, self.settings = target, settings
        self.levels: list[Level] = []
        self._on_answer = on_answer or (lambda _: None)
        self._workload = Workload(settings, target.vocab_size)

    async def run(self) -> None:
        """Measure level after level; ends early when one has no answer at all."""
        for concurrency in self.settings.concurrency:
            warmup = Level(concurrency, self.settings.warmup_at(concurrency))
            await self._closed(warmup, self._workload.warmup(concurrency))
            level = Level(
                concurrency,
                self.settings.requests_at(concurrency),
                self.settings.request_rate,
            )
            self.levels.append(level)
            await self._measure(level)
            if not any(each.succeeded for each in level.measurements):
                break

    async def _measure(self, level: Level) -> None:
        requests = self._workload.level(level.concurrency)
        start = time.perf_counter()
        try:
            if level.request_rate is None:
                await self._closed(level, requests, self._on_answer)
            else:
                await self._open(level, requests, level.request_rate)
        finally:
            level.duration = time.perf_counter() - start

    async def _closed(
        self,
        level: Level,
        requests: Iterator[BenchRequest],
        on_answer: Callable[[Level], None] = lambda _: None,
    ) -> None:
        """As many callers as the concurrency says, each of whom asks again once it is answered."""

        async def caller() -> None:
            for request in requests:
                await self._ask(level, request)
                on_answer(level)
                if _is_hopeless(level):
                    return

        async with asyncio.TaskGroup() as callers:
            for _ in range(min(level.concurrency, level.planned)):
                callers.create_task(caller())

    async def _open(self, level: Level, requests: Iterator[BenchRequest], rate: float) -> None:
        """Requests come when they come; one for which there is no room waits, and its time runs."""
        random = Random(f"{self.settings.seed} arrivals {level.concurrency}")  # noqa: S311
        room = asyncio.Semaphore(level.concurrency)

        async def answer(request: BenchRequest, due: float) -> None:
            try:
                await self._ask(level, request, due)
                self._on_answer(level)
            finally:
                room.release()

        due = time.perf_counter()
        async with asyncio.TaskGroup() as callers:
            for request in requests:
                await asyncio.sleep(due - time.perf_counter())
                await room.acquire()
                if _is_hopeless(level):
                    break
                callers.create_task(answer(request, due))
                due += random.expovariate(rate)

    async def _ask(self, level: Level, request: BenchRequest, due: float | None = None) -> None:
        measurement = Measurement(len(request.prompt_ids), started=due)
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self.target.ask(request, measurement)
            if not measurement.pieces:
                measurement.error = "The answer has no token."
        except TimeoutError:
            measurement.error = f"No whole answer within {self.settings.timeout:g} seconds."
        except ModcoreError as error:
            measurement.error = str(error)
        except OSError as error:
            measurement.error = f"{self.target.name} cannot be reached: {reason_of(error)}."
        level.measurements.append(measurement)


def _is_hopeless(level: Level) -> bool:
    recent = level.measurements[-max(_HOPELESS, 2 * level.concurrency) :]
    enough = len(recent) >= max(_HOPELESS, 2 * level.concurrency)
    return enough and not any(each.succeeded for each in recent)
