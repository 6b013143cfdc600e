"""What of the installed plugins may be used: allow and deny lists, compatibility, taken ids.

All of it is decided before anything is imported, from metadata and two environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from modcore.errors import PluginError
from modcore.plugins.compatibility import CORE, incompatibility
from modcore.plugins.discovery import (
    GROUPS,
    InstalledDist,
    PluginEntry,
    canonical,
    installed_dists,
)

ALLOW = "MODCORE_PLUGINS"
DENY = "MODCORE_DISABLE_PLUGINS"


def list_plugins(environ: Mapping[str, str] | None = None) -> list[PluginEntry]:
    """Every entry of every installed plugin with its verdict; nothing is imported.

    Raises PluginError when the allow or the deny list names a package that is not installed.
    """
    dists = installed_dists()
    policy = Policy(os.environ if environ is None else environ, dists)
    entries = [entry for dist in dists for entry in _judged(dist, policy)]
    return sorted(_mark_duplicates(entries), key=_shown_order)


class Policy:
    """The allow and the deny list (comma-separated distribution names), checked for typos.

    An allow list that is set but empty allows no plugin. The core itself is always allowed.
    """

    def __init__(self, environ: Mapping[str, str], dists: Iterable[InstalledDist]) -> None:
        known = {canonical(dist.name) for dist in dists}
        self.allowed = _names(environ, ALLOW, known)
        self.denied = _names(environ, DENY, known) or frozenset()
        if CORE in self.denied:
            raise PluginError(
                f"{DENY} names modcore itself, which cannot be disabled; take it out."
            )

    def reason_to_block(self, dist: str) -> str | None:
        """Why `dist` may not be used, or None."""
        name = canonical(dist)
        if name in self.denied:
            return f"denied by {DENY}; take {dist} out of it to use it."
        if self.allowed is not None and name not in self.allowed and name != CORE:
            return f"not named in {ALLOW}; add {dist} to it to use it."
        return None


def _names(environ: Mapping[str, str], variable: str, known: set[str]) -> frozenset[str] | None:
    text = environ.get(variable)
    if text is None:
        return None
    names = frozenset(canonical(name.strip()) for name in text.split(",") if name.strip())
    unknown = sorted(names - known - {CORE})
    if unknown:
        import difflib

        close = difflib.get_close_matches(unknown[0], sorted(known), 1)
        hint = (
            f"did you mean {close[0]}?"
            if close
            else f"installed: {', '.join(sorted(known)) or 'none'}."
        )
        raise PluginError(
            f"{variable} names {unknown[0]!r}, which is not an installed plugin; {hint}"
        )
    return names


def _judged(dist: InstalledDist, policy: Policy) -> list[PluginEntry]:
    blocked = policy.reason_to_block(dist.name)
    incompatible = None if blocked else incompatibility(dist)
    if blocked or incompatible:
        status = "blocked" if blocked else "incompatible"
        return [
            entry._replace(status=status, error=blocked or incompatible) for entry in dist.entries
        ]
    return list(dist.entries)


def _mark_duplicates(entries: list[PluginEntry]) -> list[PluginEntry]:
    claims: dict[tuple[str, str], list[PluginEntry]] = {}
    for entry in entries:
        if entry.status == "ok":
            claims.setdefault((entry.group, entry.id), []).append(entry)
    return [
        entry._replace(status="duplicate", error=claimed_twice(rivals))
        if entry.status == "ok" and len(rivals := claims[entry.group, entry.id]) > 1
        else entry
        for entry in entries
    ]


def claimed_twice(rivals: list[PluginEntry]) -> str:
    """The sentence for an id that several packages claim."""
    what = f"{rivals[0].group} id {rivals[0].id!r}"
    names = list(dict.fromkeys(entry.provenance for entry in rivals))
    if len(names) == 1:
        return (
            f"{what} is claimed more than once by {names[0]}, which the package has to correct; "
            f"try: pip install --upgrade {rivals[0].dist}"
        )
    deniable = dict.fromkeys(entry.dist for entry in rivals if canonical(entry.dist) != CORE)
    return (
        f"{what} is claimed by {' and '.join(names)}; uninstall the one that is not meant, or deny it: "
        f"{' or '.join(f'{DENY}={dist}' for dist in deniable)}"
    )


def _shown_order(entry: PluginEntry) -> tuple[int, str, str, str]:
    place = GROUPS.index(entry.group) if entry.group in GROUPS else len(GROUPS)
    return place, entry.group, entry.id, canonical(entry.dist)
