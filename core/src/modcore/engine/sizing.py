"""How many tokens the KV cache holds when nobody said."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

from modcore.errors import ModcoreError

#: The part of the memory still available that the KV cache may take when nobody said.
MEMORY_FRACTION = 0.5
#: Tokens that it has at most when nobody said: a tiny model's would otherwise be millions.
MOST_TOKENS = 1 << 20


def kv_tokens_for(
    asked: int | None,
    context_length: int,
    max_batch: int,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
) -> int:
    """How many tokens the KV cache holds: as many as are `asked` for, if they fit.

    When nobody asked: `max_batch` full contexts, or as many as half of the available memory holds.
    `shape` is layers, KV heads and head_dim. Raises ModcoreError, with the numbers, when what is
    asked for does not fit, or not even one token does.
    """
    layers, kv_heads, head_dim = shape
    row_bytes = 2 * layers * kv_heads * head_dim * dtype.itemsize  # keys and values
    available = available_memory()
    if asked is not None:
        if asked * row_bytes > available:
            raise ModcoreError(
                f"A KV cache of {asked} tokens takes {_size(asked * row_bytes)} ({row_bytes} bytes a "
                f"token: keys and values of {layers} layers, {kv_heads} heads of {head_dim}, "
                f"{dtype.itemsize} bytes each), and {_size(available)} of memory are available. "
                f"Ask for at most {available // row_bytes} kv_tokens."
            )
        return asked
    fits = int(available * MEMORY_FRACTION) // row_bytes
    if fits < 1:
        raise ModcoreError(
            f"The KV cache does not fit: one token takes {row_bytes} bytes and {_size(available)} of "
            "memory are available. Free memory, or give the engine kv_tokens."
        )
    return min(context_length * max_batch, fits, MOST_TOKENS)


def _size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def available_memory() -> int:
    """Bytes of memory that can be taken without swapping, here, in this container, by this process."""
    return min(_machine_memory(), _container_memory(), _process_memory())


def _machine_memory() -> int:
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: all of the machine's memory is the best guess
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container_memory() -> int:
    """What the control group (version 2) of this process leaves; sys.maxsize without a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return sys.maxsize
    return max(0, int(limit) - used) if limit.isdigit() else sys.maxsize


def _process_memory() -> int:
    """What the process's limit of address space (``ulimit -v``) leaves; sys.maxsize without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux
        return limit
    return max(0, limit - pages * resource.getpagesize())
