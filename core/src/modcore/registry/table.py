"""A registry as a table, and as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modcore.registry.entry import Entry

if TYPE_CHECKING:
    from modcore.registry.registry import Registry


def render(registry: Registry) -> str:
    """Names and what they stand for; nothing is imported for it but rich."""
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Registry of {registry.name}")
    table.add_column("Names", justify="left", style="cyan")
    table.add_column("Objects", justify="left", style="green")
    for name, claims in sorted(registry.claims.items()):
        table.add_row(Text(name), Text("\n".join(str(entry.value) for entry in claims)))
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=False, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


class ModuleDict(Mapping[str, Any]):
    """`Registry.module_dict`: the claims on each name, seen as the object that the first is."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> Any:
        return self._registry.own(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The object, or `default` where there is none; a broken one is an error all the same."""
        found = name in self
        return self[name] if found else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)

    def __contains__(self, name: object) -> bool:
        return name in self._registry.claims

    def __repr__(self) -> str:
        """As the seed shows it: a line for each name, and what it stands for; nothing is imported."""
        lines = [
            f"    {name!r}: {_labels(claims)}" for name, claims in self._registry.claims.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"


def _labels(claims: tuple[Entry, ...]) -> str:
    return " or ".join(entry.label for entry in claims)
