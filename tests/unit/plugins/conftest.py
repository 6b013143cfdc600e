"""A site of fabricated distributions on this process's own path."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import importlib_metadata
import pytest

from modcore.plugins import PluginEntry, PluginManager, list_plugins
from plugin_sites import Site


@pytest.fixture
def listed(site: Site) -> Callable[..., list[PluginEntry]]:
    """List what is installed in `site`, with its verdicts: `listed(MODCORE_PLUGINS="alpha")`."""

    def entries(**environ: str) -> list[PluginEntry]:
        importlib.invalidate_caches()
        fabricated = {dist.name for dist in importlib_metadata.distributions(path=[str(site.path)])}
        return [entry for entry in list_plugins(environ) if entry.dist in fabricated]

    return entries


@pytest.fixture
def manager(listed: Callable[..., list[PluginEntry]]) -> Callable[..., PluginManager]:
    """A manager of what is installed in `site`: `manager(MODCORE_STRICT_PLUGINS="1")`."""

    def make(**environ: str) -> PluginManager:
        switches: Mapping[str, str] = environ
        return PluginManager(listed(**environ), switches)

    return make
