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
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

_HUGEPAGE = 14  # MADV_HUGEPAGE: the range may have them
_COLLAPSE = 25  # MADV_COLLAPSE (Linux 6.1): make them now, of the pages that are there
_PAGE = 2 << 20  # bytes of a huge page
#: Below this a range is not worth a call.
_SMALLEST = 256 << 10
#: Allocations that are this close lie in one mapping; what is between them is the allocator's.
_GAP = mmap.PAGESIZE


class InMemory(Protocol):
    """Something that lies in ranges of memory."""

    def ranges(self) -> Iterable[tuple[int, int]]:
        """Address and size in bytes of each."""
        ...


class HugePages:
    """Gives what it is handed huge pages, one after the other, beside whoever goes on.

    Making them moves every byte, which takes longer than packing it; so a thread does it, which
    ends when nothing is left.
    """

    def __init__(self) -> None:
        self._waiting: deque[InMemory] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._region = (0, 0)  # neighbouring ranges: a huge page may lie across their borders

    def request(self, held: InMemory) -> None:
        """Let `held` have huge pages soon; it is kept until then."""
        if _madvise() is None or all(size < _SMALLEST for _, size in held.ranges()):
            return
        with self._lock:
            self._waiting.append(held)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="modcore-huge-pages", daemon=True
                )
                self._thread.start()

    def wait(self) -> None:
        """Wait until all that was requested is done."""
        thread = self._thread
        if thread:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                held = self._waiting.popleft()
            for address, size in held.ranges():
                self._use(address, address + size)

    def _use(self, start: int, end: int) -> None:
        low, high = self._region
        if -_GAP <= start - high <= _GAP:
            low, high = low, end
        elif -_GAP <= low - end <= _GAP:
            low, high = start, high
        else:
            low, high = start, end
        self._region = (low, high)
        first, last = max(low, start - _PAGE), min(high, end + _PAGE)
        use_huge_pages(first, last - first)


def use_huge_pages(address: int, size: int) -> bool:
    """Put huge pages under the `size` bytes at `address`; says whether they were made."""
    advise = _madvise()
    if size < _SMALLEST or advise is None:
        return False
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE - start
    return advise(start, length, _HUGEPAGE) == 0 and advise(start, length, _COLLAPSE) == 0


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
