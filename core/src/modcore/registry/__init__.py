"""Registry: names -> things, lazily, in scopes, with provenance.

MMEngine's idea under MMEngine's names (seed: *the registry pattern in lmdeploy*), with one rule of
resolution that gives the same answer from every node, scopes that are context variables, and no
import of what a configuration happens to name. Imports nothing of modcore but its errors.
"""

from modcore.registry.build import build_from_cfg
from modcore.registry.entry import Entry
from modcore.registry.errors import BrokenEntry, RegistryConflict, RegistryMiss
from modcore.registry.registry import Registry
from modcore.registry.scope import DefaultScope, init_default_scope

__all__ = [
    "BrokenEntry",
    "DefaultScope",
    "Entry",
    "Registry",
    "RegistryConflict",
    "RegistryMiss",
    "build_from_cfg",
    "init_default_scope",
]
