"""Which tokens the next step computes: continuous batching with chunked prefill.

Every running answer grows by one token a step; what is left of the step's budget reads prompts,
chunk by chunk, so that a long prompt never holds up the answers that others wait for.

A request starts when the rows that it and the running ones will need are there (see `admission`).
The order is by priority, then by arrival. A smaller request may pass a larger one that does not fit
yet, but only `MAX_OVERTAKEN` times. When rows run out all the same, the last in the order is paused:
it gives its rows up and reads its text again later.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass, field

from modcore.engine.admission import FullLength, LengthEstimator, peak_tokens
from modcore.engine.holdings import Holdings
from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.radix import PrefixCache
from modcore.engine.request import Request

#: Requests that may start before one that came earlier; after that it is the next to start.
MAX_OVERTAKEN = 64
#: Waiting requests that are looked at in one step.
_LOOKAHEAD = 16


@dataclass(frozen=True, slots=True)
class Chunks:
    """Tokens of one step: at most `busy`, the answers' own included, while there are any; else `idle`.

    Steps of one size also spare the kernels a preparation for every other.
    """

    busy: int = 256
    idle: int = 2048


@dataclass(slots=True)
class StepPlan:
    """The requests of one step: those in `decode` have one new token each.

    Each computes its tokens from `rows_filled` up to `rows_held`.
    """

    decode: list[Request] = field(default_factory=list)
    prefill: list[Request] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        """All of them, in the order of the batch."""
        return self.decode + self.prefill


class Scheduler:
    """The queue of those that wait and the set of those that run; used by one thread at a time."""

    def __init__(
        self,
        memory: MemoryManager,
        table: RequestTable,
        *,
        cache: PrefixCache | None = None,
        lengths: LengthEstimator | None = None,
        chunks: Chunks = Chunks(),
    ) -> None:
        self.memory, self.table, self.cache = memory, table, cache
        self.holdings = Holdings(memory, table, cache)
        self.lengths = lengths or FullLength()
        self.chunks = chunks
        self.waiting: list[Request] = []  # in the order in which they should start
        self.running: list[Request] = []  # in the same order
        self.preemptions = 0
        self._has_settled = False  # nothing that waits fits, until something changes
        self._arrivals = itertools.count()

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.waiting or self.running)

    def add(self, request: Request) -> None:
        """Queue a request."""
        request.arrival = next(self._arrivals)
        self._has_settled = False
        bisect.insort(self.waiting, request, key=_order)

    # A step

    def plan(self) -> StepPlan:
        """What the next step computes; every request in it has got the rows for it."""
        step = StepPlan()
        paused = self.preemptions
        writing = [request for request in self.running if request.tokens_to_read == 1]
        if len(writing) <= self.memory.free_tokens:
            self.holdings.extend_all(writing)
            step.decode = writing
        else:  # in order: whoever is paused has not had its turn
            step.decode = [each for each in writing if each.line >= 0 and self._extend(each, 1)]
        budget = self.chunks.idle
        if step.decode:
            budget = max(1, self.chunks.busy - len(step.decode))
        for request in list(self.running):
            if request.line >= 0 and request.tokens_to_read > 1 and budget:
                budget -= self._read_chunk(request, budget, step)
        # Whoever was paused now must not start again in the same step.
        while budget and self.preemptions == paused and (starter := self._admit()):
            budget -= self._read_chunk(starter, budget, step)
        # A request that was given rows may have been paused for one that goes before it.
        step.decode = [request for request in step.decode if request.line >= 0]
        step.prefill = [request for request in step.prefill if request.line >= 0]
        return step

    def advance(self, request: Request) -> None:
        """The step has filled `request`'s rows; a text that has been read is there for others."""
        was_read = request.has_read_prompt
        request.rows_filled = request.rows_held
        if not was_read and request.has_read_prompt:
            self.holdings.share(request)
            self._has_settled = False

    def finish(self, request: Request, *, is_complete: bool = False) -> None:
        """Take a request out, wherever it is, and free what it holds.

        How long a complete answer became is told to the estimator.
        """
        self._has_settled = False
        if request.line >= 0:
            self.running.remove(request)
            if is_complete:
                self.lengths.observe(request.written)
            if request.error is None:
                self.holdings.share(request)
            self.holdings.close(request)
        elif request in self.waiting:
            self.waiting.remove(request)

    def start(self, request: Request) -> bool:
        """Start `request` now if it fits, whatever waits; false when it has to wait."""
        if not self.table.free_lines:
            return False
        known = self.holdings.match(request)
        if not self._fits(request):
            self.holdings.forget(request)
            return False
        request.moments.start()
        self.holdings.open(request, known)
        bisect.insort(self.running, request, key=_order)
        return True

    def start_whole(self, request: Request) -> bool:
        """As `start`, with rows for all its tokens."""
        return self.start(request) and self._extend(request, request.tokens_to_read)

    # Rows

    def _read_chunk(self, request: Request, budget: int, step: StepPlan) -> int:
        """Let `request` read up to `budget` tokens; returns how many."""
        count = request.tokens_to_read
        if not request.reads_at_once:
            count = min(count, budget)
            if request.wants_prompt_logprobs:  # the logits of a whole prompt are gigabytes
                count = min(count, self.chunks.busy)
        if not self._extend(request, count):
            return 0
        (step.prefill if count > 1 else step.decode).append(request)
        return min(count, budget)

    def _extend(self, request: Request, count: int) -> bool:
        """Give `request` `count` more rows; false when it had to be paused instead."""
        while not self.holdings.make_room(count):
            last = self.running[-1]
            self._pause(last)
            if last is request:
                return False
        self.holdings.extend(request, count)
        return True

    def _pause(self, request: Request) -> None:
        self.running.remove(request)
        self.holdings.share(request)
        self.holdings.close(request)
        bisect.insort(self.waiting, request, key=_order)
        request.was_paused = True
        self.preemptions += 1
        self._has_settled = False

    # Admission

    def _admit(self) -> Request | None:
        """The next request that starts."""
        if self._has_settled or not self.table.free_lines:
            return None
        ready = (request for request in self.waiting if not request.waits_for_leader)
        for request in itertools.islice(ready, _LOOKAHEAD):
            if self.start(request):
                self.waiting.remove(request)
                self._count_overtaken(request)
                return request
            if request.overtaken >= MAX_OVERTAKEN:
                break
        self._has_settled = True
        return None

    def _count_overtaken(self, starter: Request) -> None:
        for request in list(self.waiting):
            if request.arrival < starter.arrival:
                request.overtaken += 1
                if request.overtaken == MAX_OVERTAKEN:
                    self.waiting.remove(request)
                    bisect.insort(self.waiting, request, key=_order)

    def _fits(self, request: Request) -> bool:
        own = [self._need(each) for each in [*self.running, request]]
        exclusive = sum(self.holdings.exclusive(each) for each in [*self.running, request])
        held = self.cache.held_tokens if self.cache else 0
        return peak_tokens(own) <= self.memory.tokens - (held - exclusive)

    def _need(self, request: Request) -> tuple[int, int]:
        """Rows that only `request` holds once its text is read, and those that it will ask for."""
        rest = self.lengths.remaining(request.written, request.limit)
        return len(request.tokens) - request.rows_shared + self.holdings.exclusive(request), rest


def _order(request: Request) -> tuple[bool, int, int]:
    return request.overtaken < MAX_OVERTAKEN, request.priority, request.arrival
