"""``modcore stop NAME``: end a service, wherever its instances are."""

from __future__ import annotations

import argparse
import json
import math

from modcore.cli.joining import add_gateway_option, used_gateway
from modcore.cli.text import warn
from modcore.errors import InvalidRequest
from modcore.plugins.commands import Command

_DONE = frozenset({"stopped", "stopped at once", "killed", "dead already"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="the service's name")
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=30.0,
        help="seconds to wait before it is ended at once (default: 30); running calls get 5 of them",
    )
    add_gateway_option(parser, "where to look for it")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """End it; the exit code is 1 when something of it is still there."""
    from modcore.deploy.inventory import Inventory
    from modcore.deploy.stopping import stop_local, stop_remote
    from modcore.gateway.instance import verify_service_name

    name = verify_service_name(args.name)
    if not 0 <= args.timeout < math.inf:
        raise InvalidRequest(f"{args.timeout} is no number of seconds.", param="timeout")
    inventory = Inventory(used_gateway(args))
    rows = inventory.rows(name)
    warn(inventory.trouble)
    elsewhere = [row for row in rows if not row.is_ours and row.url]
    token = inventory.token(name) if elsewhere else None
    here = stop_local(name, args.timeout)
    if here is None and not elsewhere:
        raise inventory.unknown(name)
    outcomes = stop_remote(elsewhere, token, args.timeout)
    _show(args, here, {row.url: outcomes[row.id] for row in elsewhere})
    return int(not {*outcomes.values(), here or "stopped"} <= _DONE)


def _show(args: argparse.Namespace, here: str | None, elsewhere: dict[str, str]) -> None:
    if args.json:
        print(json.dumps({"name": args.name, "here": here, "elsewhere": elsewhere}))
        return
    if here is not None:
        print(f"{args.name}: {here}")
    for url, outcome in elsewhere.items():
        print(f"{args.name} at {url}: {outcome}")


COMMAND = Command("stop", "End a service.", add_arguments, run)
