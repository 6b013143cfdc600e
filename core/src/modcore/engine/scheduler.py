"""Which requests run next: new ones are read (prefill) as soon as they fit, else all write (decode).

A request is admitted when the rows that it may need to its end are there, so that nothing that runs
can be starved by what came later. First come, first served.
"""

from __future__ import annotations

from collections import deque

from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.request import Request

#: New tokens of one prefill step at most, unless a single prompt is longer.
MAX_PREFILL_TOKENS = 4096


class Scheduler:
    """The queue of those that wait and the list of those that run."""

    def __init__(self, memory: MemoryManager, table: RequestTable) -> None:
        self.memory, self.table = memory, table
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.waiting or self.running)

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.waiting.append(request)

    def admit(self) -> list[Request]:
        """Those that start now, in order; each has got its line and its prompt's rows."""
        admitted: list[Request] = []
        tokens = 0
        while self.waiting and self.table.free_lines:
            request = self.waiting[0]
            tokens += len(request.prompt_ids)
            if not self._fits(request) or (admitted and tokens > MAX_PREFILL_TOKENS):
                break
            self._start(self.waiting.popleft())
            admitted.append(request)
        return admitted

    def _fits(self, request: Request) -> bool:
        promised = sum(running.max_length - running.length for running in self.running)
        return request.max_length <= self.memory.free_tokens - promised

    def _start(self, request: Request) -> None:
        request.line = self.table.alloc()
        count = len(request.prompt_ids)
        self.table.rows[request.line, :count] = self.memory.alloc(count)
        self.running.append(request)

    def extend(self) -> list[Request]:
        """All that run, each with a row for its newest token."""
        rows = self.memory.alloc(len(self.running))
        for row, request in zip(rows, self.running, strict=True):
            self.table.rows[request.line, request.length - 1] = row
        return self.running

    def finish(self, request: Request) -> None:
        """Take a request out, wherever it is, and free what it holds."""
        if request in self.running:
            self.running.remove(request)
            self.memory.free(self.table.rows[request.line, : self._held(request)])
            self.table.free(request.line)
        elif request in self.waiting:
            self.waiting.remove(request)

    def _held(self, request: Request) -> int:
        """Rows that a running request holds: its newest token has none before its decode step."""
        return max(len(request.prompt_ids), request.length - 1)
