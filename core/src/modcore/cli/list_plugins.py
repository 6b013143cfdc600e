"""``modcore list-plugins``: what is installed, without importing it."""

from __future__ import annotations

import argparse
import json
import sys

from modcore._version import VERSION
from modcore.cli.text import columns, printable
from modcore.errors import InvalidRequest
from modcore.plugins import GROUPS, PluginEntry, list_plugins
from modcore.plugins.commands import Command

_COLUMNS = ("package", "version", "group", "id", "target", "status")
_WIDE = 140  # columns of a terminal in which the targets have a place too
_NARROW = 100  # fewer have none for versions, nor for what all groups begin with
_COLOURS = {"ok": "green", "blocked": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "--requirements",
        action="store_true",
        help="print the plugin packages as pip requirements, to install the same set elsewhere",
    )
    parser.add_argument(
        "--group", metavar="G", help="only this entry-point group, such as modcore.text_models"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="import every entry, each at its own risk, and exit with 1 if any is broken",
    )


def run(args: argparse.Namespace) -> int:
    """List; the exit code is 1 when --check finds something broken."""
    group = None if args.group is None else _group(args.group)
    entries = [entry for entry in list_plugins() if group in (None, entry.group)]
    if args.check:
        from modcore.plugins.check import check_plugins

        entries = check_plugins(entries)
    if args.json:
        print(json.dumps(_as_json(entries), indent=2))
    elif args.requirements:
        for requirement in sorted(
            {f"{e.dist}=={e.version}" for e in entries if e.dist != "modcore"}
        ):
            print(requirement)
    else:
        _show(entries)
    return int(args.check and any(entry.status == "broken" for entry in entries))


def _group(name: str) -> str:
    for group in GROUPS:
        if name in (group, group.removeprefix("modcore.")):
            return group
    raise InvalidRequest(
        f"there is no group {name!r}; the groups are {', '.join(GROUPS)}.", param="group"
    )


def _as_json(entries: list[PluginEntry]) -> dict[str, object]:
    return {"core": {"version": VERSION}, "plugins": [entry._asdict() for entry in entries]}


def _show(entries: list[PluginEntry]) -> None:
    print(f"modcore {VERSION}")
    if not entries:
        print("No plugins. Try: pip install modcore-llama")
        return
    if sys.stdout.isatty():
        _show_table(entries)
    else:
        _show_columns(entries)
    for entry in entries:
        if entry.error:
            print(printable(f"{entry.dist} {entry.id}: {entry.status}: {entry.error}"))


def _show_columns(entries: list[PluginEntry]) -> None:
    print(columns([_COLUMNS, *(entry[:6] for entry in entries)]))


def _show_table(entries: list[PluginEntry]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    is_narrow = console.width < _NARROW
    left_out = {"target"} if console.width < _WIDE else set()
    left_out |= {"version"} if is_narrow else set()
    shown = [column for column in _COLUMNS if column not in left_out]
    table = Table(*shown, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for entry in entries:
        cells = dict(zip(_COLUMNS, map(printable, entry[:6]), strict=True))
        if is_narrow:
            cells["group"] = cells["group"].removeprefix("modcore.")
        styles = {"status": _COLOURS.get(entry.status, "red")}
        table.add_row(*(Text(cells[c], styles.get(c, ""), overflow="fold") for c in shown))
    console.print(table)


COMMAND = Command(
    "list-plugins", "List what is installed, without importing it.", add_arguments, run
)
