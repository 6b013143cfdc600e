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
    from modcore.flow import (
        _0,
        _1,
        _2,
        _3,
        _4,
        _5,
        _6,
        _7,
        _8,
        _9,
        barrier,
        bind,
        diverter,
        graph,
        ifs,
        loop,
        parallel,
        pipeline,
        switch,
        warp,
    )
    from modcore.module import (
        ActionModule,
        ModuleBase,
        ServerModule,
        UrlModule,
        make_repr,
        module_register,
    )
    from modcore.plugins import hookimpl
    from modcore.registry import DefaultScope, Registry
    from modcore.training import TrainableModule

__version__ = VERSION

_HOMES = {
    "engine": ("AsyncEngine", "Engine", "SamplingParams"),
    "errors": ("CheckpointError", "InvalidRequest", "ModcoreError", "PluginError"),
    "flow": (
        "_0",
        "_1",
        "_2",
        "_3",
        "_4",
        "_5",
        "_6",
        "_7",
        "_8",
        "_9",
        "barrier",
        "bind",
        "diverter",
        "graph",
        "ifs",
        "loop",
        "parallel",
        "pipeline",
        "switch",
        "warp",
    ),
    "module": (
        "ActionModule",
        "ModuleBase",
        "ServerModule",
        "UrlModule",
        "make_repr",
        "module_register",
    ),
    "plugins": ("hookimpl",),
    "registry": ("DefaultScope", "Registry"),
    "training": ("TrainableModule",),
}

#: Rooms that are reached by attribute without having been imported: ``modcore.module.ModuleBase``.
_ROOMS = frozenset({"engine", "flow", "module", "plugins", "registry", "training", "vision"})

__all__ = [
    "ActionModule",
    "AsyncEngine",
    "CheckpointError",
    "DefaultScope",
    "Engine",
    "InvalidRequest",
    "ModcoreError",
    "ModuleBase",
    "PluginError",
    "Registry",
    "SamplingParams",
    "ServerModule",
    "TrainableModule",
    "UrlModule",
    "_0",
    "_1",
    "_2",
    "_3",
    "_4",
    "_5",
    "_6",
    "_7",
    "_8",
    "_9",
    "__version__",
    "barrier",
    "bind",
    "diverter",
    "graph",
    "hookimpl",
    "ifs",
    "loop",
    "make_repr",
    "module_register",
    "parallel",
    "pipeline",
    "switch",
    "warp",
]


def __getattr__(name: str) -> Any:
    import importlib

    hint = ""
    if name in _ROOMS:
        return importlib.import_module(f"modcore.{name}")
    for room, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"modcore.{room}"), name)
    if not name.startswith("_"):
        # Groups of registered modules are attributes too: modcore.mymodules.m()
        register = importlib.import_module("modcore.module.register").module_register
        group = register.find(name)
        if group is not None:
            return group
        if near := register.near(name):
            hint = f"; did you mean the group {near[0]!r}?"
    raise AttributeError(f"module 'modcore' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return __all__
