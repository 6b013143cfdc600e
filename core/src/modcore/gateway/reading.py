"""From what a store holds to instances that may be called: verified once, refused with a reason."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from modcore.gateway.base import Entry
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.instance import BadDocument, Instance, read_entry
from modcore.gateway.networks import NETWORKS, AllowedNetworks

_log = logging.getLogger(__name__)


class Known(NamedTuple):
    """An instance and the entry that it was read from."""

    entry: Entry
    instance: Instance


class EntryReader:
    """Reads entries that `key` has signed and whose addresses `networks` allow; counts the others."""

    def __init__(self, key: ClusterKey, networks: AllowedNetworks | None = None) -> None:
        self._key = key
        self._networks = networks or AllowedNetworks.from_environment()
        self._seen: dict[Entry, Instance | None] = {}
        self._refusals: collections.Counter[str] = collections.Counter()

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many documents were refused, by reason; one that stays in the store counts once."""
        return MappingProxyType(dict(self._refusals))

    def read(self, entries: Iterable[Entry]) -> dict[str, Known]:
        """The instances that `entries` tell of, by id; what was read before is not verified again."""
        before, self._seen = self._seen, {}
        for entry in entries:
            self._seen[entry] = before[entry] if entry in before else self._instance(entry)
        return {
            entry.id: Known(entry, instance)
            for entry, instance in self._seen.items()
            if instance is not None
        }

    def _instance(self, entry: Entry) -> Instance | None:
        try:
            instance = read_entry(entry, self._key)
            if not self._networks.allows(instance.url):
                raise BadDocument(
                    f"its URL {instance.url} is outside the allowed networks ({self._networks}); "
                    f"{NETWORKS} lists them",
                    "network",
                )
        except BadDocument as error:
            self._refusals[error.reason] += 1
            # Once for each reason: who can write to the store shall not write our logs.
            level = logging.WARNING if self._refusals[error.reason] == 1 else logging.DEBUG
            _log.log(level, "a document of %.80r is ignored: %s", entry.service, error)
            return None
        return instance
