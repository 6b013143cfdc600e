"""What is installed, read from distribution metadata alone: no plugin is ever imported here.

One pass over the installed distributions finds those that register an entry point in one of
modcore's groups. What may be *used* of it is decided in `verdicts`.

This module stands on the path of every command, so it keeps to modules that importlib-metadata
has loaded already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import importlib_metadata

HOOKS = "modcore"
TEXT_MODELS = "modcore.text_models"
VISION_MODELS = "modcore.vision_models"
WEIGHTS = "modcore.weights"
INFER_LAYERS = "modcore.infer_layers"
GATEWAYS = "modcore.gateways"
LAUNCHERS = "modcore.launchers"
MODULES = "modcore.modules"

#: Every entry-point group, in the order in which they are shown.
GROUPS = (
    HOOKS,
    TEXT_MODELS,
    VISION_MODELS,
    WEIGHTS,
    INFER_LAYERS,
    GATEWAYS,
    LAUNCHERS,
    MODULES,
)


class PluginEntry(NamedTuple):
    """One entry point of one distribution, with its provenance and what became of it.

    `status` is ``ok``, ``blocked``, ``incompatible``, ``duplicate`` or ``broken``; `error` is a
    sentence unless the status is ``ok``.
    """

    dist: str
    version: str
    group: str
    id: str
    target: str
    status: str = "ok"
    error: str | None = None

    @property
    def provenance(self) -> str:
        """``dist version``, as errors name a package."""
        return f"{self.dist} {self.version}"

    def describe(self) -> str:
        """Everything that an error about this entry has to say."""
        return f"{self.group}: {self.id} = {self.target} from {self.provenance}"


class InstalledDist(NamedTuple):
    """A distribution that registers something with modcore.

    `core_requirements` are its ``Requires-Dist`` lines that may concern the core.
    """

    name: str
    version: str
    core_requirements: tuple[str, ...]
    entries: tuple[PluginEntry, ...]


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return "-".join(
        part for part in name.replace("_", "-").replace(".", "-").split("-") if part
    ).lower()


def installed_dists() -> list[InstalledDist]:
    """Every installed distribution with an entry point for modcore, each name once."""
    found = map(_read, filter(_may_concern_modcore, _dists_in_force()))
    return sorted((dist for dist in found if dist.entries), key=lambda dist: canonical(dist.name))


def _dists_in_force() -> Iterable[importlib_metadata.Distribution]:
    """The first distribution of each name on ``sys.path``.

    One without metadata, which an interrupted uninstallation leaves behind, yields to a later one
    that has some.
    """
    first: dict[str, importlib_metadata.Distribution] = {}
    dists: Iterable[Any] = importlib_metadata.distributions(path=_search_path())
    for dist in dists:
        name = _directory_name(dist)
        if name not in first or (not _metadata(first[name]) and _metadata(dist)):
            first[name] = dist
    return first.values()


def _search_path() -> list[str]:
    # Interpreters list a python3X.zip that does not exist; looking into it would load zipfile.
    return [place for place in sys.path if not place or os.path.exists(place)]  # noqa: PTH110


def _directory_name(dist: importlib_metadata.Distribution) -> str:
    """The name by which importlib-metadata tells distributions apart: no file has to be read."""
    try:
        name = getattr(dist, "_normalized_name", None)
        return str(name).replace("_", "-") if name else canonical(dist.name)
    except Exception:  # an .egg whose metadata names nothing; what it raises depends on the version
        return "unnamed"


def _may_concern_modcore(dist: importlib_metadata.Distribution) -> bool:
    return "[modcore" in _text(dist, "entry_points.txt")


def _metadata(dist: importlib_metadata.Distribution) -> str:
    return _text(dist, "METADATA") or _text(dist, "PKG-INFO")


def _text(dist: importlib_metadata.Distribution, filename: str) -> str:
    """A metadata file, whatever its encoding; empty when there is none."""
    try:
        return dist.read_text(filename) or ""
    except UnicodeDecodeError as error:
        return error.object.decode("latin-1")
    except OSError:
        return ""


def _read(dist: importlib_metadata.Distribution) -> InstalledDist:
    metadata = _metadata(dist)
    name, version, requirements = _headers(metadata)
    name = name or _directory_name(dist)
    try:
        points = list(dist.entry_points)
    except Exception as error:  # a hand-made file may hold anything; the parser promises nothing
        entry = PluginEntry(name, version, HOOKS, "?", "?")
        return InstalledDist(name, version, (), (_unreadable(entry, "entry_points.txt", error),))
    entries = [
        _entry(name, version, point)
        for point in points
        if point.group == HOOKS or point.group.startswith("modcore.")
    ]
    if not metadata:
        entries = [_unreadable(entry, "METADATA", "it is missing or empty") for entry in entries]
    return InstalledDist(name, version, requirements, tuple(entries))


def _headers(metadata: str) -> tuple[str, str, tuple[str, ...]]:
    """Name, version and possible requirements of the core, from the metadata's header lines.

    The e-mail parser behind ``dist.metadata`` costs half a millisecond a distribution, which a
    listing of many plugins would pay many times.
    """
    name, version, requirements = "", "?", []
    for line in metadata.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        value = value.strip()
        if key == "Name":
            name = value
        elif key == "Version":
            version = value
        elif key == "Requires-Dist" and value.lower().startswith("modcore"):
            requirements.append(value)
    return name, version, tuple(requirements)


def _unreadable(entry: PluginEntry, filename: str, why: object) -> PluginEntry:
    error = (
        f"{filename} of {entry.dist} cannot be read ({why}); "
        f"reinstall it: pip install --force-reinstall {entry.dist}"
    )
    return entry._replace(status="broken", error=error)


def _entry(dist: str, version: str, point: importlib_metadata.EntryPoint) -> PluginEntry:
    entry = PluginEntry(dist, version, point.group, point.name, point.value)
    if point.group not in GROUPS:
        return entry._replace(status="broken", error=_unknown_group(entry))
    try:
        point.module  # noqa: B018  raises on a value that is not module:attr
    except ValueError:
        error = (
            f"{entry.describe()} is not of the form module:attr, which the package has to correct; "
            f"try: pip install --upgrade {dist}"
        )
        return entry._replace(status="broken", error=error)
    return entry


def _unknown_group(entry: PluginEntry) -> str:
    import difflib

    # What follows "modcore." is compared: the prefix alone would make every group a near one.
    kinds = [group.partition(".")[2] for group in GROUPS if group != HOOKS]
    close = difflib.get_close_matches(entry.group.partition(".")[2], kinds, 1)
    hint = f"did you mean modcore.{close[0]}?" if close else f"the groups are {', '.join(GROUPS)}."
    return (
        f"{entry.provenance} registers {entry.id} in the unknown group {entry.group}; {hint} "
        f"The package has to correct it; try: pip install --upgrade {entry.dist}"
    )
