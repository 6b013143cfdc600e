"""KV memory: one row for each token of each layer, reached through an index (token attention).

A request owns rows, not a region: its tokens may lie anywhere, so there is nothing to compact.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modcore.errors import ModcoreError

#: Row 0 belongs to nobody: padded index entries point at it, and it holds zeros.
HOLD_ROW = 0


class MemoryManager:
    """Key and value rows, and a stack of those that are free; taking and giving back is O(1) a row.

    `keys` and `values` are ``[layers, 1 + tokens, kv_heads, head_dim]``.
    """

    def __init__(
        self,
        tokens: int,
        layers: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.tokens = tokens
        # `empty` leaves pages untouched until they are written, so an unused cache costs no memory.
        self.keys = torch.empty(layers, 1 + tokens, kv_heads, head_dim, dtype=dtype, device=device)
        self.values = torch.empty_like(self.keys)
        self.keys[:, HOLD_ROW] = 0
        self.values[:, HOLD_ROW] = 0
        self._stack = torch.arange(tokens, 0, -1, dtype=torch.int64)
        self._is_free = torch.ones(1 + tokens, dtype=torch.bool)
        self._is_free[HOLD_ROW] = False
        self._free = tokens

    @property
    def free_tokens(self) -> int:
        """How many rows nobody holds."""
        return self._free

    def alloc(self, count: int) -> torch.Tensor:
        """Take `count` rows; returns their numbers, ``[count]`` int64 on the CPU."""
        if count > self._free:
            raise ModcoreError(
                f"The KV cache has {self._free} of {self.tokens} rows free and {count} are needed; "
                "give the engine more kv_tokens."
            )
        self._free -= count
        rows = self._stack[self._free : self._free + count].flip(0)
        self._is_free[rows] = False
        return rows

    def free(self, rows: torch.Tensor) -> None:
        """Give `rows` (``[count]``) back; raises ModcoreError for one that nobody holds."""
        count = rows.numel()
        if count == 0:
            return
        if self._is_free[rows].any() or (rows == HOLD_ROW).any():
            raise ModcoreError("KV rows are given back that nobody holds; this is a bug.")
        self._is_free[rows] = True
        self._stack[self._free : self._free + count] = rows.flip(0)
        self._free += count


class RequestTable:
    """Where each running request keeps its tokens: one line of row numbers a request.

    `rows` is ``[requests, width]`` int64, and grows as wide as the longest request needs; a line's
    entries beyond a request's length are stale.
    """

    def __init__(self, requests: int, width: int = 1024) -> None:
        self.rows = torch.zeros(requests, width, dtype=torch.int64)
        self._free = list(range(requests - 1, -1, -1))

    @property
    def free_lines(self) -> int:
        """How many more requests may run."""
        return len(self._free)

    def alloc(self) -> int:
        """Take a line."""
        return self._free.pop()

    def free(self, line: int) -> None:
        """Give a line back."""
        self._free.append(line)

    def put(self, line: int, start: int, rows: torch.Tensor) -> None:
        """Write `rows` (``[count]``) to a line, from `start` on."""
        self._widen(start + len(rows))
        self.rows[line, start : start + len(rows)] = rows

    def append(self, lines: Sequence[int], ends: Sequence[int], rows: torch.Tensor) -> None:
        """Write one of `rows` (``[count]``) to each of `lines`, at its end."""
        self._widen(max(ends) + 1)
        self.rows[torch.tensor(lines), torch.tensor(ends)] = rows

    def _widen(self, width: int) -> None:
        if width > self.rows.shape[1]:
            wider = torch.zeros(
                len(self.rows), max(width, 2 * self.rows.shape[1]), dtype=torch.int64
            )
            wider[:, : self.rows.shape[1]] = self.rows
            self.rows = wider
