"""Why a key leads nowhere: near names, where it was looked for, what could not be imported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modcore.registry.entry import Entry
from modcore.registry.scope import current_scope

if TYPE_CHECKING:
    from modcore.registry.registry import Registry


def explain_miss(registry: Registry, key: str) -> str:
    """The whole explanation of a key that is not found from `registry`, as sentences."""
    nodes = _searched(registry, key)
    default = current_scope()
    leads_here = default is not None and registry.node_of(default) is registry
    where = f", where the default scope {default!r} leads" if leads_here else ""
    return _sentences(
        f"{_short(key)} is not registered in {' or '.join(node.path for node in nodes)}{where}.",
        *_near(registry, key),
        *_dotted(registry, key),
        *_failed(nodes),
        *_hints(nodes, key),
    )


def explain_absent(registry: Registry, name: str) -> str:
    """The explanation of a name that `registry` does not hold itself, whatever is around it."""
    near = difflib.get_close_matches(str(name), registry, 3)
    hint = [f"Did you mean {' or '.join(map(repr, near))}?"] if near else []
    return _sentences(f"{_short(name)} is not registered in {registry.path} itself.", *hint)


def explain_conflict(registry: Registry, key: str, claims: Iterable[Entry]) -> str:
    """Who claims a key, and what to do about it."""
    claimed = " and by ".join(entry.describe() for entry in claims)
    return (
        f"{key!r}, asked for in {registry.path}, is registered by {claimed}; register the one that "
        "is meant with force=True, or unregister the name first."
    )


def explain_broken(registry: Registry, key: str, entry: Entry) -> str:
    """What a key stands for that could not be imported, and why."""
    nodes = _searched(registry, key)
    return _sentences(
        f"{key!r} in {registry.path} stands for {entry.describe()}, "
        f"which cannot be imported ({_cause(entry.error)}).",
        *_hints(nodes, key),
    )


def _short(key: object) -> str:
    shown = repr(key)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def _sentences(*sentences: str) -> str:
    return " ".join(dict.fromkeys(sentences))


def _searched(registry: Registry, key: str) -> list[Registry]:
    """The registries in which `key` is looked for, in order."""
    starts = [start for start, _ in registry.readings(key)]
    return list(dict.fromkeys(node for start in starts for node in start.line()))


def _near(registry: Registry, key: str) -> Iterator[str]:
    """The names like `key`, anywhere in the tree, as they would be found from `registry`."""
    line = set(registry.line())
    spellings: dict[str, dict[str, None]] = {}
    for node in registry.root.tree():
        for name in node:
            scoped = f"{node.address}.{name}"
            for form in (name, scoped):
                same = spellings.setdefault(form.casefold(), {})
                same[name if node in line else scoped] = None
    wanted = key.casefold()
    close = [
        *difflib.get_close_matches(wanted, spellings, 3),
        *difflib.get_close_matches(wanted.rpartition(".")[2], spellings, 3),
    ]
    names = list(dict.fromkeys(name for form in close for name in spellings[form]))[:3]
    everything = sorted({name for same in spellings.values() for name in same})
    if names:
        yield f"Did you mean {' or '.join(map(repr, names))}?"
    elif len(everything) <= 20:
        yield f"Registered are: {', '.join(everything) or 'none'}."


def _dotted(registry: Registry, key: str) -> Iterator[str]:
    scope, _ = registry.split_scope_key(key)
    if scope is not None and not registry.keys_are_flat and registry.node_of(scope) is None:
        yield f"There is no scope {_short(scope)}: {registry.scopes()}"
        yield "Nothing is imported because a key names it: register it, or give the object as type."


def _failed(nodes: Iterable[Registry]) -> Iterator[str]:
    """What might have brought the key, had it been possible to import it."""
    for node in nodes:
        for location, error in node.location_errors.items():
            yield f"{node.path} looks in {location}, which cannot be imported ({_cause(error)})."
        for claims in node.claims.values():
            for entry in claims:
                if entry.error is not None:
                    yield f"{entry.name!r} could not be imported: {entry.describe()} ({_cause(entry.error)})."


def _hints(nodes: Iterable[Registry], key: str) -> Iterator[str]:
    yield from filter(None, (node.hint(key) for node in nodes))


def _cause(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"
