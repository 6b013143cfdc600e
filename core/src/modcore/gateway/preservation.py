"""A store that suddenly forgets much is not believed at once: Eureka's self-preservation."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping

from modcore.gateway.probe import answering
from modcore.gateway.reading import Known

KEEP = 300.0  # seconds that one is kept which answers but does not register again


class Doubts:
    """The instances that a store has lost and that may live all the same."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # id -> by the monotonic clock

    def raised(self, before: Mapping[str, Known], now: Mapping[str, Known]) -> dict[str, Known]:
        """Those of `before` that `now` lacks although they may live, by id.

        These are all that a service has lost when it has lost more than half at once, and those that
        were in doubt before. An instance that had said it drains has gone of its own accord.
        """
        kept: dict[str, Known] = {}
        for members in _by_service(before).values():
            gone = {each.instance.id: each for each in members if each.instance.id not in now}
            much = 2 * len(gone) > len(members)
            kept |= {key: each for key, each in gone.items() if much or key in self._since}
        began = time.monotonic()
        self._since = {key: self._since.get(key, began) for key in kept}
        return kept

    def settled(self, kept: Mapping[str, Known]) -> dict[str, Known]:
        """Those of `kept` that answer when they are asked; the others are gone."""
        end = time.monotonic() - KEEP
        recent = [each.instance for key, each in kept.items() if self._since[key] > end]
        alive = answering(recent)
        self._since = {key: self._since[key] for key in alive}
        return {key: kept[key] for key in alive}


def _by_service(known: Mapping[str, Known]) -> Mapping[str, list[Known]]:
    """Those that have not said that they drain."""
    services: dict[str, list[Known]] = collections.defaultdict(list)
    for each in known.values():
        if not each.instance.draining:
            services[each.instance.service].append(each)
    return services
