"""The ids of an entry-point group as a registry: filled from metadata, imported as they are used."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable
from typing import Any

from modcore.errors import PluginError
from modcore.plugins.catalogue import PACKAGES
from modcore.plugins.discovery import TEXT_MODELS, PluginEntry
from modcore.plugins.loading import load
from modcore.plugins.verdicts import claimed_twice
from modcore.registry import Entry, Registry


class InstalledEntry(Entry):
    """An id, under `name`, and all that claim it, whether they may be used or not."""

    __slots__ = ("claims",)

    def __init__(self, name: str, claims: list[PluginEntry]) -> None:
        sources = dict.fromkeys(claim.provenance for claim in claims)
        super().__init__(name, claims[0].target, " and ".join(sources))
        self.claims = claims

    def _load(self) -> Any:
        return load(self.usable())

    @property
    def fault(self) -> str | None:
        """Why none of the claims may be used; None when one may, or several could."""
        if any(claim.status in ("ok", "duplicate") for claim in self.claims):
            return None
        return f"{self.claims[0].describe()} cannot be used: {self.claims[0].error}"

    def usable(self) -> PluginEntry:
        """The one entry that the id stands for; raises PluginError when there is none, or several."""
        if self.fault:
            raise PluginError(self.fault)
        first, *rivals = [claim for claim in self.claims if claim.status in ("ok", "duplicate")]
        if rivals:
            raise PluginError(claimed_twice([first, *rivals]))
        return first


def by_id(entries: Iterable[PluginEntry], group: str) -> dict[str, list[PluginEntry]]:
    """The entries of `group`, whatever their status, by their ids."""
    claims: dict[str, list[PluginEntry]] = {}
    for entry in entries:
        if entry.group == group:
            claims.setdefault(entry.id, []).append(entry)
    return claims


def registry_of(entries: Iterable[PluginEntry], group: str) -> Registry:
    """The ids of `group`; what cannot be used is in it too, and says why when it is asked for."""
    registry = Registry(group, scope="modcore")
    registry.keys_are_flat = True
    registry.add(*(InstalledEntry(key, claims) for key, claims in by_id(entries, group).items()))
    if group == TEXT_MODELS:
        registry.hint = lambda key: package_hint(key, registry)
    return registry


def package_hint(id: str, known: Container[str] = ()) -> str | None:
    """Which of modcore's own packages brings `id`, or one with a name like it that is not `known`."""
    if package := PACKAGES.get(id):
        return f"Install the package that brings it: pip install {package}"
    for near in difflib.get_close_matches(id, PACKAGES, 1, cutoff=0.8):
        if near not in known:
            return f"{near} comes with another package: pip install {PACKAGES[near]}"
    return None
