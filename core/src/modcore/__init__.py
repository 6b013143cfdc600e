"""modcore: turn a model checkpoint, or any Python callable, into a Module.

The flat public API. Every name is loaded on first use (PEP 562), so that ``import modcore`` stays
cheap: no torch, no transformers, no plugin is imported before something needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modcore._version import VERSION

if TYPE_CHECKING:
    from modcore.engine import AsyncEngine, Engine, SamplingParams
    from modcore.errors import CheckpointError, InvalidRequest, ModcoreError, PluginError
    from modcore.plugins import hookimpl

__version__ = VERSION

_HOMES = {
    "AsyncEngine": "modcore.engine",
    "CheckpointError": "modcore.errors",
    "Engine": "modcore.engine",
    "InvalidRequest": "modcore.errors",
    "ModcoreError": "modcore.errors",
    "PluginError": "modcore.errors",
    "SamplingParams": "modcore.engine",
    "hookimpl": "modcore.plugins",
}

__all__ = [
    "AsyncEngine",
    "CheckpointError",
    "Engine",
    "InvalidRequest",
    "ModcoreError",
    "PluginError",
    "SamplingParams",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'modcore' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
