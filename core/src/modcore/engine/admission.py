"""When a waiting request may start: LightLLM's formula, and what it takes for each answer's length.

The formula asks for the most rows that will be in use at any moment to come. Rows are in use most
just before an answer ends, so only those moments are looked at.
"""

from __future__ import annotations

import bisect
import random
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from modcore.errors import InvalidRequest


def peak_tokens(requests: Iterable[tuple[int, int]]) -> int:
    """The most rows in use at once, when each request has `held` rows and will write `rest` more.

    `requests` are pairs (held, rest). Sorted by rest, longest first, the i-th (from 0) ends when it
    and those before it have written rest_i each: (i + 1) * rest_i + held_0 + ... + held_i rows.
    Source: LightLLM, *Router*; arXiv 2507.10150 section 3.

    >>> peak_tokens([(3, 5), (4, 1)])
    9
    """
    peak = held = 0
    ordered = sorted(requests, key=lambda pair: -pair[1])
    for place, (have, rest) in enumerate(ordered, 1):
        held += have
        peak = max(peak, held + place * rest)
    return peak


class LengthEstimator(Protocol):
    """Says how much an answer will grow."""

    def remaining(self, written: int, limit: int) -> int:
        """Tokens still to come for an answer of `written` tokens that may have `limit`."""
        ...

    def observe(self, length: int) -> None:
        """An answer ended with `length` tokens."""
        ...


class FullLength:
    """Every answer may become as long as it was allowed to: what is admitted always fits."""

    def remaining(self, written: int, limit: int) -> int:
        """See `LengthEstimator.remaining`."""
        return limit - written

    def observe(self, length: int) -> None:
        """See `LengthEstimator.observe`."""


def length_estimator(name: str, seed: int = 0) -> LengthEstimator:
    """The estimator called `name`: ``full`` or ``past-future``; raises InvalidRequest for another."""
    if name == "full":
        return FullLength()
    if name == "past-future":
        return PastFuture(seed)
    raise InvalidRequest(f"lengths is {name!r}; it has to be full or past-future.", param="lengths")


class PastFuture:
    """Answers become as long as those seen before (arXiv 2507.10150).

    A length is drawn from the last `window` answers that were longer than what is written already.
    Drawn too short, rows run out and a request is paused; so until `warm_up` answers have been seen,
    and where none was longer, the full length is taken. The same `seed` draws the same lengths.
    """

    def __init__(self, seed: int = 0, window: int = 1000, warm_up: int = 16) -> None:
        self._random = random.Random(seed)  # noqa: S311  no secret is made of it
        self._recent: deque[int] = deque(maxlen=window)
        self._sorted: list[int] = []
        self._warm_up = warm_up

    def remaining(self, written: int, limit: int) -> int:
        """See `LengthEstimator.remaining`."""
        longer = bisect.bisect_right(self._sorted, written)
        if len(self._sorted) < self._warm_up or longer == len(self._sorted):
            return limit - written
        drawn = self._sorted[self._random.randrange(longer, len(self._sorted))]
        return min(drawn, limit) - written

    def observe(self, length: int) -> None:
        """See `LengthEstimator.observe`."""
        if len(self._recent) == self._recent.maxlen:
            del self._sorted[bisect.bisect_left(self._sorted, self._recent[0])]
        self._recent.append(length)
        bisect.insort(self._sorted, length)
