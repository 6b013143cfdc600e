"""What is installed, read from distribution metadata alone: no plugin is ever imported here.

One pass over the installed distributions finds those that register an entry point in one of
modcore's groups. What may be *used* of it is decided in `verdicts`.

This module stands on the path of every command, so it keeps to modules that importlib-metadata
has loaded already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

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
    found: dict[str, InstalledDist] = {}
    for dist in importlib_metadata.distributions():
        text = _entry_points_text(dist)
        if text is None:
            continue
        read = _read(dist)
        key = canonical(read.name)
        if read.entries and key not in found and not _is_shadowed(read.name, text):
            found[key] = read
    return sorted(found.values(), key=lambda dist: canonical(dist.name))


def _entry_points_text(dist: importlib_metadata.Distribution) -> str | None:
    """The text of ``entry_points.txt`` when it may concern modcore."""
    try:
        text = dist.read_text("entry_points.txt")
    except (OSError, UnicodeDecodeError):
        return None
    return text if text and "[modcore" in text.replace(" ", "") else None


def _is_shadowed(name: str, text: str) -> bool:
    """Whether an earlier place on ``sys.path`` holds another distribution of this name."""
    try:
        return importlib_metadata.distribution(name).read_text("entry_points.txt") != text
    except importlib_metadata.PackageNotFoundError:
        return False


def _read(dist: importlib_metadata.Distribution) -> InstalledDist:
    name, version, requirements = _headers(dist)
    try:
        entry_points = list(dist.entry_points)
    except Exception as error:  # a hand-made file may hold anything; the parser promises nothing
        reason = f"entry_points.txt of {name} cannot be read ({error}); reinstall it: pip install --force-reinstall {name}"
        return InstalledDist(
            name, version, (), (PluginEntry(name, version, HOOKS, "?", "?", "broken", reason),)
        )
    entries = tuple(
        _entry(name, version, point)
        for point in entry_points
        if point.group == HOOKS or point.group.startswith("modcore.")
    )
    return InstalledDist(name, version, requirements, entries)


def _headers(dist: importlib_metadata.Distribution) -> tuple[str, str, tuple[str, ...]]:
    """Name, version and possible requirements of the core, from the metadata's header lines.

    The e-mail parser behind ``dist.metadata`` costs half a millisecond a distribution, which a
    listing of many plugins would pay many times.
    """
    name, version, requirements = "", "", []
    for line in _metadata_lines(dist):
        key, _, value = line.partition(":")
        value = value.strip()
        if key == "Name":
            name = value
        elif key == "Version":
            version = value
        elif key == "Requires-Dist" and value.lower().startswith("modcore"):
            requirements.append(value)
    return name or "(unnamed distribution)", version or "?", tuple(requirements)


def _metadata_lines(dist: importlib_metadata.Distribution) -> Iterator[str]:
    try:
        text = dist.read_text("METADATA") or dist.read_text("PKG-INFO") or ""
    except (OSError, UnicodeDecodeError):
        return
    for line in text.splitlines():
        if not line:
            return
        yield line


def _entry(dist: str, version: str, point: importlib_metadata.EntryPoint) -> PluginEntry:
    entry = PluginEntry(dist, version, point.group, point.name, point.value)
    if point.group not in GROUPS:
        return entry._replace(status="broken", error=_unknown_group(entry))
    try:
        point.module  # noqa: B018  raises on a value that is not module:attr
    except ValueError:
        error = f"{entry.describe()} is not of the form module:attr; the package has to correct its entry point."
        return entry._replace(status="broken", error=error)
    return entry


def _unknown_group(entry: PluginEntry) -> str:
    import difflib

    close = difflib.get_close_matches(entry.group, GROUPS, 1)
    hint = f"; did you mean {close[0]}?" if close else f"; the groups are {', '.join(GROUPS)}."
    return f"{entry.provenance} registers {entry.id} in the unknown group {entry.group}{hint}"
