"""Huge pages under weights: fewer address translations while a matrix streams through the core.

Linux gives them on request (`transparent_hugepage` is "madvise" on most machines). PyTorch asks only
when the environment says so before it starts, so the request is made here, range by range. Where the
platform has none, nothing happens.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable

_HUGEPAGE = 14  # MADV_HUGEPAGE: the range may have them
_COLLAPSE = 25  # MADV_COLLAPSE (Linux 6.1): make them now, of the pages that are there
#: Below this a range holds too few whole huge pages (2 MiB) to matter.
_SMALLEST = 4 << 20


def use_huge_pages(address: int, size: int) -> bool:
    """Ask for huge pages under the `size` bytes at `address`; says whether they were made."""
    if size < _SMALLEST:
        return False
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE - start
    advise = _madvise()
    if advise is None or advise(start, length, _HUGEPAGE):
        return False
    return advise(start, length, _COLLAPSE) == 0


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    function.restype = ctypes.c_int
    advise: Callable[[int, int, int], int] = function
    return advise
