"""Which requests run next: new ones are read (prefill) as soon as they fit, else all write (decode).

A request is admitted when the rows that it may need to its end are there, so that nothing that runs
can be starved by what came later. First come, first served.
"""

from __future__ import annotations

from collections import deque

import torch

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
        while self.waiting:
            request = self.waiting[0]
            tokens += len(request.prompt_ids)
            if (admitted and tokens > MAX_PREFILL_TOKENS) or not self.admit_one(request):
                break
            admitted.append(self.waiting.popleft())
        return admitted

    def admit_one(self, request: Request) -> bool:
        """Start `request` if it fits; false when it has to wait."""
        if not self.table.free_lines or not self._fits(request):
            return False
        request.line = self.table.alloc()
        request.rows_held = len(request.prompt_ids)
        rows = self.memory.alloc(request.rows_held)
        self.table.rows[request.line, : request.rows_held] = rows
        self.running.append(request)
        return True

    def _fits(self, request: Request) -> bool:
        promised = sum(running.max_length - running.length for running in self.running)
        return request.max_length <= self.memory.free_tokens - promised

    def extend(self) -> list[Request]:
        """All that run, each with a row for its newest token."""
        lines = torch.tensor([request.line for request in self.running])
        ends = torch.tensor([request.rows_held for request in self.running])
        self.table.rows[lines, ends] = self.memory.alloc(len(self.running))
        for request in self.running:
            request.rows_held += 1
        return list(self.running)

    def finish(self, request: Request) -> None:
        """Take a request out, wherever it is, and free what it holds."""
        if request in self.running:
            self.running.remove(request)
            self.memory.free(self.table.rows[request.line, : request.rows_held])
            self.table.free(request.line)
        elif request in self.waiting:
            self.waiting.remove(request)
