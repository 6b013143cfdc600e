"""Variants of a model's parts: entries called ``<family>.<part>.<variant>``, found from metadata alone.

A variant replaces the parts that it has; the others stay the model class's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from modcore.errors import InvalidRequest
from modcore.plugins.discovery import INFER_LAYERS, WEIGHTS, PluginEntry, canonical
from modcore.plugins.manager import PluginManager

#: The option that asks for a variant -> the group whose entries it names.
GROUP_OF = {"weights": WEIGHTS, "layers": INFER_LAYERS}


def resolve_variant(
    manager: PluginManager, option: str, family: str, variant: str, parts: Iterable[str]
) -> dict[str, Any]:
    """Those of `parts` that `variant` has, as part -> object; `option` is ``weights`` or ``layers``.

    Raises InvalidRequest, which lists the variants there are, when it has none; PluginError when an
    entry is there but cannot be used.
    """
    group = GROUP_OF[option]
    ids = {part: f"{family}.{part}.{variant}" for part in parts}
    found = {
        part: manager.resolve(group, name)
        for part, name in ids.items()
        if name in manager.registry(group)
    }
    if not found:
        raise InvalidRequest(_unknown(manager, option, family, variant, list(ids)), param=option)
    return found


def variants(entries: Iterable[PluginEntry], families: Iterable[str]) -> list[PluginEntry]:
    """The usable entries that are variants of a part of one of `families`."""
    return [
        entry
        for entry in entries
        if entry.group in GROUP_OF.values()
        and entry.status == "ok"
        and entry.id.count(".") >= 2
        and entry.id.split(".")[0] in families
    ]


def families_of(entries: Iterable[PluginEntry], dist: str) -> set[str]:
    """The families whose own parts, ``<family>.<part>``, the package `dist` registers."""
    return {
        entry.id.split(".")[0]
        for entry in entries
        if entry.group in GROUP_OF.values()
        and canonical(entry.dist) == canonical(dist)
        and entry.id.count(".") == 1
    }


def variant_name(entry: PluginEntry) -> str:
    """``int8`` of ``llama.transformer.int8``."""
    return entry.id.split(".", 2)[2]


def _unknown(
    manager: PluginManager, option: str, family: str, variant: str, parts: list[str]
) -> str:
    offers = {
        variant_name(entry): entry.provenance
        for entry in variants(manager.entries, [family])
        if entry.group == GROUP_OF[option] and entry.id.split(".")[1] in parts
    }
    return f"no installed package offers {option} {variant!r} for {family or 'this model'}; {_hint(offers, variant)}"


def _hint(offers: dict[str, str], variant: str) -> str:
    if not offers:
        return "it has no variants, so leave the option out."
    return "".join(_near(offers, variant)) + f"there are: {', '.join(_shown(offers))}."


def _near(offers: dict[str, str], variant: str) -> Iterator[str]:
    for close in difflib.get_close_matches(variant, offers, 1):
        yield f"did you mean {close!r}? "


def _shown(offers: dict[str, str]) -> Iterator[str]:
    for name, provenance in sorted(offers.items()):
        yield f"{name} ({provenance})"
