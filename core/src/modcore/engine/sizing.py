"""How many tokens the KV cache holds when nobody said."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from modcore.errors import ModcoreError

#: The part of the memory still available that the KV cache may take.
MEMORY_FRACTION = 0.5


def default_kv_tokens(
    context_length: int, max_batch: int, shape: tuple[int, int, int], dtype: torch.dtype
) -> int:
    """Rows for `max_batch` full contexts, or as many as half of the available memory holds.

    `shape` is layers, KV heads and head_dim. Raises ModcoreError, with the numbers, when not even
    one row fits.
    """
    layers, kv_heads, head_dim = shape
    row_bytes = 2 * layers * kv_heads * head_dim * dtype.itemsize  # keys and values
    available = available_memory()
    fits = int(available * MEMORY_FRACTION) // row_bytes
    if fits < 1:
        raise ModcoreError(
            f"The KV cache does not fit: one token takes {row_bytes} bytes and {available} bytes of "
            "memory are available. Free memory, or give the engine kv_tokens."
        )
    return min(context_length * max_batch, fits)


def available_memory() -> int:
    """Bytes of memory that can be taken without swapping."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: all of the machine's memory is the best guess
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
