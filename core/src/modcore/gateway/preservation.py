"""A store that suddenly forgets much is not believed at once: Eureka's self-preservation."""

from __future__ import annotations

import collections
from collections.abc import Mapping

from modcore.gateway.reading import Known


def doubtful(
    before: Mapping[str, Known], now: Mapping[str, Known], already: Mapping[str, object]
) -> dict[str, Known]:
    """Those of `before` that `now` lacks although they may live, by id.

    These are all that a service has lost when it has lost more than half at once, and those that were
    in doubt `already`. An instance that had said it drains has gone of its own accord.
    """
    services: dict[str, list[Known]] = collections.defaultdict(list)
    for known in before.values():
        if not known.instance.draining:
            services[known.instance.service].append(known)
    found: dict[str, Known] = {}
    for members in services.values():
        gone = {known.instance.id: known for known in members if known.instance.id not in now}
        much = 2 * len(gone) > len(members)
        found |= {key: known for key, known in gone.items() if much or key in already}
    return found
