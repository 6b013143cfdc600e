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
    """The queue of those that wait and the set of those that run."""

    def __init__(self, memory: MemoryManager, table: RequestTable) -> None:
        self.memory, self.table = memory, table
        self.waiting: deque[Request] = deque()
        self.running: dict[Request, None] = {}  # in the order of admission
        self._promised = 0  # rows that the running requests may still ask for

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.waiting or self.running)

    def add(self, request: Request) -> None:
        """Queue a request; safe from any thread."""
        self.waiting.append(request)

    def admit(self) -> list[Request]:
        """Those that start now, in order; each has got its line and its prompt's rows."""
        admitted: list[Request] = []
        tokens = 0
        while self.waiting:
            request = self.waiting[0]
            tokens += request.prompt_length
            if (admitted and tokens > MAX_PREFILL_TOKENS) or not self.admit_one(request):
                break
            admitted.append(self.waiting.popleft())
        return admitted

    def admit_one(self, request: Request) -> bool:
        """Start `request` if it fits; false when it has to wait."""
        fits = request.max_length <= self.memory.free_tokens - self._promised
        if not fits or not self.table.free_lines:
            return False
        request.line = self.table.alloc()
        request.rows_held = request.prompt_length
        rows = self.memory.alloc(request.rows_held)
        self.table.rows[request.line, : request.rows_held] = rows
        self.running[request] = None
        self._promised += request.max_length - request.rows_held
        return True

    def extend(self) -> list[Request]:
        """All that run, each with a row for its newest token."""
        requests = list(self.running)
        device = self.table.rows.device
        lines = torch.tensor([request.line for request in requests], device=device)
        ends = torch.tensor([request.rows_held for request in requests], device=device)
        self.table.rows[lines, ends] = self.memory.alloc(len(requests))
        for request in requests:
            request.rows_held += 1
        self._promised -= len(requests)
        return requests

    def finish(self, request: Request) -> None:
        """Take a request out, wherever it is, and free what it holds."""
        if request in self.running:
            del self.running[request]
            self._promised -= request.max_length - request.rows_held
            self.memory.free(self.table.rows[request.line, : request.rows_held])
            self.table.free(request.line)
        elif request in self.waiting:
            self.waiting.remove(request)
