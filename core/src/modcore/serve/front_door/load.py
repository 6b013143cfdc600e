"""How many calls are under way, and how many may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from modcore.serve.front_door.refusals import busy


class Load:
    """Counts calls under way: `capacity` at most altogether, `service_capacity` for each name."""

    def __init__(self, capacity: int, service_capacity: int) -> None:
        self._capacity, self._service_capacity = capacity, service_capacity
        self.total = 0
        self.by_name: Counter[str] = Counter()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """A request while it is entered; raises Refusal (503) when it is one too many."""
        if self.total >= self._capacity:
            raise busy(503, f"{self._capacity} calls are under way already; send it again.")
        self.total += 1
        try:
            yield
        finally:
            self.total -= 1

    @contextmanager
    def one_more_of(self, name: str) -> Iterator[None]:
        """A call of `name` while it is entered; raises Refusal (429) when it is one too many."""
        if self.by_name[name] >= self._service_capacity:
            raise busy(
                429,
                f"{self._service_capacity} calls of {name!r} are under way already; send it again.",
            )
        self.by_name[name] += 1
        try:
            yield
        finally:
            self.by_name[name] -= 1
            if not self.by_name[name]:
                del self.by_name[name]
