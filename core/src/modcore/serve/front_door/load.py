"""How many calls of each service are under way, and how many may be."""

from __future__ import annotations

from collections import Counter

from modcore.serve.front_door.refusals import busy


class Load:
    """Counts calls under way by the name of their service or model; `most` of one at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.by_name: Counter[str] = Counter()

    def enter(self, name: str) -> None:
        """One more call of `name`; raises Refusal (429) when it is one too many."""
        if self.by_name[name] >= self._most:
            message = f"{self._most} calls of {name!r} are under way already; send it again."
            raise busy(429, message)
        self.by_name[name] += 1

    def leave(self, name: str) -> None:
        """One call of `name` less."""
        self.by_name[name] -= 1
        if not self.by_name[name]:
            del self.by_name[name]
