"""Plugins: what is installed, what of it may be used, and the hooks through which it acts.

Finding needs metadata alone (`discovery`, `verdicts`); importing happens when an id or a hook is
first used (`manager`). Nothing here knows a model, a tensor or a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modcore.lazy import lazy
from modcore.plugins.discovery import GROUPS, PluginEntry
from modcore.plugins.verdicts import list_plugins

if TYPE_CHECKING:
    from modcore.plugins.hookspecs import hookimpl, hookspec
    from modcore.plugins.manager import PluginManager, plugin_manager
    from modcore.plugins.model_types import match_model_type
    from modcore.plugins.records import (
        BuildOptions,
        Launcher,
        ModelMatch,
        ModelPart,
        Resources,
        Service,
        ServiceSpec,
    )

_HOMES = {
    "BuildOptions": "records",
    "Launcher": "records",
    "ModelMatch": "records",
    "ModelPart": "records",
    "PluginManager": "manager",
    "Resources": "records",
    "Service": "records",
    "ServiceSpec": "records",
    "match_model_type": "model_types",
    "hookimpl": "hookspecs",
    "hookspec": "hookspecs",
    "plugin_manager": "manager",
}

__all__ = [
    "GROUPS",
    "BuildOptions",
    "Launcher",
    "ModelMatch",
    "ModelPart",
    "PluginEntry",
    "PluginManager",
    "Resources",
    "Service",
    "ServiceSpec",
    "hookimpl",
    "hookspec",
    "list_plugins",
    "match_model_type",
    "plugin_manager",
]

# pluggy and the manager load when they are used: listing plugins needs neither.
__getattr__ = lazy(__name__, _HOMES)
