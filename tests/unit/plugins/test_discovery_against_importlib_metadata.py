"""Discovery finds exactly what importlib-metadata reports, whatever is installed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import importlib_metadata
from hypothesis import given, settings
from hypothesis import strategies as st

from modcore.plugins import GROUPS
from modcore.plugins.discovery import installed_dists
from plugin_sites import Site

NAMES = st.sampled_from(["alpha", "Alpha", "alpha-x", "alpha_x", "Alpha.X", "modcore-q", "zeta"])
FOREIGN = ["console_scripts", "gui_scripts", "modcores", "pytest_modcore", "modcore.unheard_of"]
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True)
TARGETS = st.from_regex(
    r"[a-z_]{1,6}(\.[a-z]{1,4})?(:[A-Z][a-z]{0,5}(\.[a-z]{1,3})?)?", fullmatch=True
)
ENTRY_POINTS = st.dictionaries(
    st.sampled_from([*GROUPS, *FOREIGN]), st.dictionaries(IDS, TARGETS, max_size=3), max_size=4
)
DIST = st.tuples(NAMES, st.sampled_from(["0.9", "1.0", "2.0rc1"]), st.integers(0, 2), ENTRY_POINTS)
ENVIRONMENT = st.lists(
    DIST, max_size=8, unique_by=lambda dist: (dist[0].replace("-", "_"), dist[1], dist[2])
)


@contextmanager
def installed(environment: list[tuple[str, str, int, dict[str, dict[str, str]]]]) -> Iterator[None]:
    """Install into three places, which stand first on ``sys.path``."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(number) for number in range(3)]
        for name, version, place, entry_points in environment:
            Site(places[place]).install(name, version, entry_points=entry_points)
        with mock.patch.object(sys, "path", [*map(str, places), *sys.path]):
            yield


@settings(max_examples=60, deadline=None)
@given(ENVIRONMENT)
def test_installed_entries_are_those_that_importlib_metadata_reports(
    environment: list[tuple[str, str, int, dict[str, dict[str, str]]]],
) -> None:
    with installed(environment):
        reported = [
            (point.dist.name, point.dist.version, point.group, point.name, point.value)
            for point in importlib_metadata.entry_points()
            if point.group == "modcore" or point.group.startswith("modcore.")
        ]
        found = [entry[:5] for dist in installed_dists() for entry in dist.entries]

    assert sorted(found) == sorted(reported)
