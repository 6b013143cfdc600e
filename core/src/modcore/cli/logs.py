"""``modcore logs NAME``: what a service has printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modcore.cli.joining import add_gateway_option, used_gateway
from modcore.cli.text import printable, warn
from modcore.errors import InvalidRequest, ServiceError
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.deploy.log_sources import LogSource

MAX_LINES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="the service's name")
    parser.add_argument(
        "-n", "--lines", metavar="N", type=int, default=100, help="how many lines (default: 100)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is printed")
    parser.add_argument("--replica", metavar="N", type=int, help="only this replica")
    add_gateway_option(parser, "where to look for it")
    parser.add_argument("--json", action="store_true", help="print each line as a JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the last lines, and with --follow what comes, until Ctrl-C."""
    from modcore.deploy.inventory import Inventory
    from modcore.deploy.log_sources import Following, last, log_sources
    from modcore.gateway.instance import verify_service_name

    name = verify_service_name(args.name)
    if not 0 <= args.lines <= MAX_LINES:
        raise InvalidRequest(f"{args.lines} is not between 0 and {MAX_LINES}.", param="lines")
    inventory = Inventory(used_gateway(args))
    sources = log_sources(name, inventory)
    warn(inventory.trouble)
    if not sources:
        raise inventory.unknown(name)
    if args.replica is not None:
        sources = _of_replica(name, sources, args.replica)
    following = Following(sources) if args.follow else None  # before the last lines: none is missed
    shown = last(sources, args.lines)
    _print(args, shown)
    if following is not None:
        _print(args, following.lines(shown))
    return 0


def _of_replica(name: str, sources: list[LogSource], replica: int) -> list[LogSource]:
    """Those of `sources` that are of one replica; raises ServiceError when there is none."""
    found = [source for source in sources if source.replica == replica]
    if not found:
        known = ", ".join(str(each.replica) for each in sources if each.replica is not None)
        raise ServiceError(
            f"No log of replica {replica} of {name!r} is on this machine; there are {known or 'none'}."
        )
    return found


def _print(args: argparse.Namespace, lines: Iterable[tuple[str, str]]) -> None:
    for label, line in lines:
        if args.json:
            print(json.dumps({"instance": label, "line": line}), flush=True)
        else:
            print(f"{label}: {printable(line)}", flush=True)


COMMAND = Command("logs", "Show what a service has printed.", add_arguments, run)
