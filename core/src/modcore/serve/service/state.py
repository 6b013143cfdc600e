"""What a service is doing: calls in flight, whether it takes more, what became of those before."""

from __future__ import annotations

import asyncio
import bisect
import collections
from dataclasses import dataclass, field

from modcore.gateway.instance import DEFAULT_CAPACITY
from modcore.serve.service.http import not_now

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(slots=True)
class Seconds:
    """A histogram: how many calls took up to each of BUCKETS, and more than all of them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class ServiceState:
    """Belongs to the event loop's thread; `capacity` is the most calls in flight."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self.in_flight = 0
        self.is_draining = False
        self.ended: collections.Counter[tuple[str, str]] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.seconds: collections.defaultdict[str, Seconds] = collections.defaultdict(Seconds)
        self._idle = asyncio.Event()
        self._idle.set()

    def admit(self) -> None:
        """A call takes its place; raises Refused when it is not begun."""
        if self.is_draining or self.in_flight >= self.capacity:
            state = "draining" if self.is_draining else "busy"
            self.refused[state] += 1
            raise not_now(state)
        self.in_flight += 1
        self._idle.clear()

    def release(self) -> None:
        """The place is free again."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    def count(self, kind: str, outcome: str, seconds: float) -> None:
        """A call of `kind` (``call`` or ``stream``) has ended."""
        self.ended[kind, outcome] += 1
        self.seconds[kind].observe(seconds)

    async def idle(self, timeout: float) -> bool:
        """Wait until nothing is in flight, `timeout` seconds at most; whether that is so."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
