"""``--gateway``, the same for every command that has it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modcore.deploy.inventory import Inventory


def add_gateway_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--gateway``."""
    parser.add_argument(
        "--gateway",
        metavar="URL",
        help="where services find each other, such as sqlite:////var/tmp/services.db (default: "
        "MODCORE_GATEWAY); anyone on this machine can read a command line, so rather set "
        "MODCORE_GATEWAY to a URL that holds a password",
    )


def gateway_of(args: argparse.Namespace) -> str | None:
    """The gateway's URL: ``--gateway``, else what the environment says; None without one."""
    from modcore.gateway.addresses import absolute
    from modcore.gateway.settings import gateway_url

    if args.gateway is None:
        return gateway_url()
    return absolute(args.gateway) if args.gateway else None


def warn_of(inventory: Inventory) -> None:
    """Say on stderr what could not be seen of the gateway."""
    if inventory.trouble:
        print(f"warning: {inventory.trouble}", file=sys.stderr)
