"""Who can be called at one moment: services and their instances, never changed, only replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from modcore.gateway.instance import Instance
from modcore.gateway.reading import Known

#: The instances of each service by its name, both in alphabetical order (instances by id).
Snapshot = Mapping[str, tuple[Instance, ...]]
EMPTY: Snapshot = MappingProxyType({})


def snapshot_of(known: Iterable[Known], before: Snapshot) -> Snapshot:
    """The snapshot of `known`; what is as it was in `before` stays the same object.

    A balancer sees by that, at a glance, that nothing has changed.
    """
    services: dict[str, list[Instance]] = {}
    for _, instance in sorted(known, key=lambda each: each.entry.id):
        services.setdefault(instance.service, []).append(instance)
    return MappingProxyType(
        {
            name: old if (new := tuple(members)) == (old := before.get(name, ())) else new
            for name, members in sorted(services.items())
        }
    )
