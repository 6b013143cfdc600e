"""What running requests hold: a line of the table, rows of the KV memory, texts in the prefix cache."""

from __future__ import annotations

import numpy as np
import torch

from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.radix import Ids, PrefixCache
from modcore.engine.request import Request


class Holdings:
    """Gives requests rows and takes them back; knows nothing of who goes first."""

    def __init__(
        self, memory: MemoryManager, table: RequestTable, cache: PrefixCache | None
    ) -> None:
        self.memory, self.table, self.cache = memory, table, cache

    @property
    def tokens_in_use(self) -> int:
        """Rows that running requests hold; what only the prefix cache keeps is not among them.

        May be asked for in the middle of a step, which moves rows between the two counts.
        """
        free = self.memory.free_tokens  # first: what is given up meanwhile must not count twice
        cached = self.cache.evictable_tokens if self.cache else 0
        return max(0, self.memory.tokens - free - cached)

    def match(self, request: Request) -> torch.Tensor:
        """Hold what the cache knows of the text; returns its rows.

        The last token is always computed: its logits are what the answer goes on from.
        """
        reads_all = request.prompt_logprobs is not None
        if self.cache is None or not request.uses_prefix_cache or reads_all:
            return torch.empty(0, dtype=torch.int64)
        match = self.cache.match(_ids(request, len(request.tokens) - 1))
        self.cache.hold(match.node)
        request.node, request.rows_shared = match.node, len(match.rows)
        return match.rows

    def open(self, request: Request, known: torch.Tensor) -> None:
        """Give `request` a line that begins with the rows that `match` found."""
        if self.cache and request.node and not request.was_paused:
            self.cache.count(request.prompt_length, len(known))
            request.cached_tokens = len(known)
        request.line = self.table.alloc()
        self.table.put(request.line, 0, known)
        request.rows_held = request.rows_filled = len(known)

    def make_room(self, count: int) -> bool:
        """Whether `count` rows are free, once the cache has given up what nobody holds."""
        short = count - self.memory.free_tokens
        if short > 0 and self.cache:
            self.cache.evict(short)
        return self.memory.free_tokens >= count

    def extend(self, request: Request, count: int) -> None:
        """Give `request` `count` more rows."""
        self.table.put(request.line, request.rows_held, self.memory.alloc(count))
        request.rows_held += count

    def extend_all(self, requests: list[Request]) -> None:
        """Give each of `requests` one more row, all at once."""
        if requests:
            lines, ends = zip(*((each.line, each.rows_held) for each in requests), strict=True)
            self.table.append(lines, ends, self.memory.alloc(len(requests)))
        for request in requests:
            request.rows_held += 1

    def share(self, request: Request) -> None:
        """Hand the filled rows to the cache, and hold them there.

        Not before the prompt has been read: until its logits have been seen, it may be spoiled.
        """
        if self.cache is None or not request.uses_prefix_cache or not request.has_read_prompt:
            return
        filled = request.rows_filled
        line = self.table.rows[request.line]
        node, rows = self.cache.insert(_ids(request, filled), line[:filled].clone())
        line[:filled] = rows
        self.cache.hold(node)
        self.forget(request)
        request.node, request.rows_shared = node, filled

    def forget(self, request: Request) -> None:
        """Undo `match` or `share`."""
        if self.cache is not None and request.node is not None:
            self.cache.release(request.node)
        request.node, request.rows_shared = None, 0

    def close(self, request: Request) -> None:
        """Take back all that `request` holds."""
        self.memory.free(self.table.rows[request.line, request.rows_shared : request.rows_held])
        self.forget(request)
        self.table.free(request.line)
        request.line = -1
        request.rows_held = request.rows_filled = 0

    def exclusive(self, request: Request) -> int:
        """Tokens in the cache that nobody but `request` holds."""
        if request.node is None:
            return 0
        return sum(len(node.ids) for node in request.node.path() if node.holders == 1)

    def clear(self) -> None:
        """Give back all rows that nobody holds."""
        if self.cache:
            self.cache.clear()


def _ids(request: Request, count: int) -> Ids:
    ids = np.array(request.tokens[:count], dtype=np.int64)
    for span in request.spans:
        ids[span.start : span.stop] = span.cache_ids()[: max(0, count - span.start)]
    return ids
