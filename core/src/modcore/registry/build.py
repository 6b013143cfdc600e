"""Building from a config: ``type`` names what, the rest are its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from modcore.registry.errors import RegistryMiss
from modcore.registry.tree import Node

if TYPE_CHECKING:
    from modcore.registry.registry import Registry


def build_from_cfg(
    cfg: Mapping[str, Any], registry: Registry, default_args: Mapping[str, Any] | None = None
) -> Any:
    """Call what ``cfg["type"]`` names (a key of `registry`, or a callable) with the rest of `cfg`.

    `default_args` fill in what `cfg` leaves out; ``_scope_`` is the default scope during the call,
    so that what is built inside it is found there too. `cfg` is not changed.

    Raises TypeError when `cfg` is no mapping or its type neither a string nor callable, RegistryMiss
    when there is no type or nothing is registered under it; what the call raises gets a note.
    """
    _check(cfg, registry, default_args)
    arguments = {**(default_args or {}), **cfg}
    if "_scope_" not in arguments:
        return _build(arguments, registry)
    with registry.switch_scope_and_registry(arguments.pop("_scope_")):
        return _build(arguments, registry)


def _check(cfg: object, registry: object, default_args: object) -> None:
    if not isinstance(cfg, (dict, Mapping)):
        raise TypeError(f"cfg is {cfg!r}; it has to be a dict with the key 'type'.")
    if not isinstance(registry, Node):
        raise TypeError(f"registry is {registry!r}; it has to be a Registry.")
    if default_args is not None and not isinstance(default_args, Mapping):
        raise TypeError(f"default_args is {default_args!r}; it has to be a dict or None.")


def _build(arguments: dict[str, Any], registry: Registry) -> Any:
    if "type" not in arguments:
        held = ", ".join(map(repr, arguments)) or "nothing"
        raise RegistryMiss(
            f"cfg has to hold the key 'type', which names what to build from {registry.path}; "
            f"it holds {held}."
        )
    kind = arguments.pop("type")
    if isinstance(kind, str):
        kind = registry.lookup(kind)
    elif not callable(kind):
        raise TypeError(f"type is {kind!r}; it has to be a registered name or a callable.")
    try:
        return kind(**arguments)
    except Exception as error:
        add_note(error, kind, registry)
        raise


def add_note(error: Exception, kind: Callable[..., Any], registry: Registry) -> None:
    """Say on `error` what was being built."""
    error.add_note(f"while building {getattr(kind, '__qualname__', kind)} from {registry.path}")
