"""Memory for weights on huge pages from the start: fewer address translations while they stream."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys

import torch

_PAGE = 2 << 20  # bytes of a huge page
_CHUNK = 64 << 20
_ALIGNMENT = 64  # of a tensor: a line of the cache


class Arena:
    """Hands out tensors one behind the other in large mappings.

    A tensor of its own is too small to hold a huge page, and the heap puts others between. A mapping
    is given back once no tensor in it is left; what nobody has written takes no memory.
    """

    def __init__(self) -> None:
        self._rest = torch.empty(0, dtype=torch.uint8)

    def empty(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """A tensor that holds anything; on a platform without huge pages as `torch.empty` makes it."""
        if not sys.platform.startswith("linux"):
            return torch.empty(*shape, dtype=dtype)
        size = math.prod(shape) * dtype.itemsize
        if size > len(self._rest):
            self._rest = _mapped(max(size, _CHUNK))
        taken = self._rest[:size]
        self._rest = self._rest[-(-size // _ALIGNMENT) * _ALIGNMENT :]
        return taken.view(dtype).view(*shape)


def _mapped(size: int) -> torch.Tensor:
    """`size` bytes or more that begin where a huge page does, uint8."""
    mapping = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        mapping.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(mapping, dtype=torch.uint8)
    return whole[-whole.data_ptr() % _PAGE :]
