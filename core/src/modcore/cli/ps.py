"""``modcore ps``: the services that run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from modcore.cli.joining import add_gateway_option, used_gateway
from modcore.cli.text import fitted, terminal_width, warn
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.deploy.inventory import Row

_COLUMNS = ("name", "replica", "state", "url", "pid", "uptime", "restarts", "launcher", "calls")
_SPARE = ("launcher", "pid", "restarts", "calls", "uptime")  # for a narrow terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_gateway_option(parser, "where to look")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List the services of the gateway and of this user on this machine."""
    from modcore.deploy.inventory import Inventory

    inventory = Inventory(used_gateway(args))
    rows = inventory.asked(inventory.rows())
    warn(inventory.trouble)
    if args.json:
        print(json.dumps({"services": [asdict(row) for row in rows]}, indent=2))
    elif not rows:
        print("Nothing is deployed. Try: modcore deploy app.py:module")
    else:
        print(fitted([_COLUMNS, *map(_cells, rows)], _SPARE, terminal_width()))
    return 0


def _cells(row: Row) -> tuple[str, ...]:
    values = {**asdict(row), "uptime": None if row.uptime is None else _duration(row.uptime)}
    return tuple("-" if values[name] in (None, "") else str(values[name]) for name in _COLUMNS)


def _duration(seconds: float) -> str:
    """Two units are enough: ``3d 4h``, ``5m 12s``, ``8s``."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2])


COMMAND = Command("ps", "List the services that run.", add_arguments, run)
