"""Which model class serves a config, and why: every match collected, none silently preferred.

An entry point, or a class registered in this process, that bears the name of the config's
architecture decides. Only when there is none are the plugins' ``modcore_match_model`` hooks asked, so
a plugin that is not needed is not imported.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modcore.errors import CheckpointError
from modcore.plugins.catalogue import PACKAGES
from modcore.plugins.discovery import TEXT_MODELS, PluginEntry, canonical
from modcore.plugins.manager import PluginManager
from modcore.plugins.records import MATCH_KINDS, ModelMatch
from modcore.plugins.variants import families_of, variants
from modcore.plugins.verdicts import DENY


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `config.json` asks for, what matched, which match is chosen, and what to do if none is.

    `variants` are the entries that may replace parts of the chosen model's family.
    """

    architectures: list[str]
    model_type: str | None
    matches: list[ModelMatch]
    chosen: ModelMatch | None
    hint: str | None
    rejected: list[str]
    variants: list[PluginEntry]

    def to_json(self) -> dict[str, Any]:
        """The explanation as ``modcore explain --json`` prints it."""
        return {
            "architectures": self.architectures,
            "model_type": self.model_type,
            "matches": [match.to_json() for match in self.matches],
            "chosen": self.chosen.to_json() if self.chosen else None,
            "hint": self.hint,
            "variants": [
                {"group": entry.group, "id": entry.id, "dist": entry.dist, "version": entry.version}
                for entry in self.variants
            ],
        }


def explain(config: Mapping[str, Any], manager: PluginManager) -> Explanation:
    """Match `config` against everything installed; imports no model class."""
    architectures = _architectures(config)
    model_type = config.get("model_type")
    model_type = model_type if isinstance(model_type, str) else None
    models = manager.models
    matches = [_by_architecture(entry) for entry in models if _serves(entry, architectures)]
    if not matches:
        matches = sorted(manager.match_model(config), key=_best_first)
    best = _best(matches)
    chosen = best[0] if len(best) == 1 else None
    hint = None if chosen else _hint(architectures, model_type, best, models)
    rejected = list(_rejections(models, matches, architectures))
    families = families_of(manager.entries, chosen.dist) if chosen else set()
    return Explanation(
        architectures,
        model_type,
        matches,
        chosen,
        hint,
        rejected,
        variants(manager.entries, families),
    )


def _architectures(config: Mapping[str, Any]) -> list[str]:
    value = config.get("architectures")
    names = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"config.json: architectures is {value!r} where a list of names is expected; correct it."
        )
    return names


def _serves(entry: PluginEntry, architectures: list[str]) -> bool:
    return entry.status in ("ok", "duplicate") and entry.id in architectures


def _by_architecture(entry: PluginEntry) -> ModelMatch:
    reason = f"config.json names the architecture {entry.id}"
    return ModelMatch(entry.id, reason, "architecture", entry.dist, entry.version, entry.group)


def _best_first(match: ModelMatch) -> tuple[int, str, str]:
    return MATCH_KINDS.index(match.kind), match.dist, match.id


def _best(matches: list[ModelMatch]) -> list[ModelMatch]:
    """The matches of the closest kind, each (package, id) once."""
    for kind in MATCH_KINDS:
        best = {(match.dist, match.id): match for match in matches if match.kind == kind}
        if best:
            return list(best.values())
    return []


def _hint(
    architectures: list[str],
    model_type: str | None,
    best: list[ModelMatch],
    models: list[PluginEntry],
) -> str:
    if best:
        return _tie_hint(best)
    for entry in models:
        if entry.id in architectures:
            return _unusable_hint(entry, entry.id)
    # The model type says nothing about an architecture that is named: a classifier is a llama too.
    wanted = architectures or ([model_type] if model_type else [])
    for name in wanted:
        if package := PACKAGES.get(name):
            return _package_hint(package, name, models)
    return _author_hint(wanted, models)


def _tie_hint(best: list[ModelMatch]) -> str:
    claims = " and ".join(f"{match.dist} {match.version} ({match.id})" for match in best)
    dists = {match.dist for match in best}
    if len(dists) == 1:
        return (
            f"{claims} both match; name the one that is meant as the architecture in config.json."
        )
    denials = " or ".join(f"{DENY}={dist}" for dist in sorted(dists))
    return f"More than one package serves this checkpoint: {claims}. Uninstall the one that is not meant, or deny it: {denials}"


def _unusable_hint(entry: PluginEntry, name: str) -> str:
    return (
        f"{entry.provenance} is installed and serves {name}, but is {entry.status}: {entry.error}"
    )


def _package_hint(package: str, name: str, models: list[PluginEntry]) -> str:
    installed = [entry for entry in models if canonical(entry.dist) == package]
    for entry in installed:
        if entry.status != "ok":
            return _unusable_hint(entry, name)
    if installed:
        return (
            f"{installed[0].provenance} is installed, but does not serve {name} as it should; "
            f"update it: pip install --upgrade {package}"
        )
    return f"Install the package that serves {name}: pip install {package}"


def _author_hint(wanted: list[str], models: list[PluginEntry]) -> str:
    if not wanted:
        return "config.json names neither architectures nor model_type, so nothing can be matched; add the architecture's name to it."
    name = wanted[0]
    known = sorted({entry.id for entry in models} | {key for key in PACKAGES if key[0].isupper()})
    close = difflib.get_close_matches(name, known, 1, cutoff=0.8)
    meant = f" (Is {close[0]} meant?)" if close else ""
    return (
        f"No package known to modcore serves {name}.{meant} To serve it, write a plugin: a package "
        f'with the entry point [project.entry-points."{TEXT_MODELS}"] {name} = "your_package:YourModel"; '
        "docs/writing-a-plugin.md shows how."
    )


def _rejections(
    models: list[PluginEntry], matches: list[ModelMatch], architectures: list[str]
) -> Iterator[str]:
    """What did not match, and why."""
    matched = {(match.dist, match.id) for match in matches}
    asked = ", ".join(architectures) or "no architecture"
    for entry in models:
        if (entry.dist, entry.id) not in matched:
            why = entry.error if entry.status != "ok" else f"config.json names {asked}"
            yield f"{entry.id} ({entry.provenance}): {why}"
