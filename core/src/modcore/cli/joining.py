"""``--gateway``: which registry of services a command uses."""

from __future__ import annotations

import argparse
import re

GATEWAY_HELP = (
    "such as sqlite:////var/tmp/services.db or redis://127.0.0.1:6379 (default: MODCORE_GATEWAY); a "
    "password on a command line is visible, so rather set that"
)


def add_gateway_option(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Declare ``--gateway``, which is for `purpose`."""
    parser.add_argument("--gateway", metavar="URL", help=f"{purpose}, {GATEWAY_HELP}")


def used_gateway(args: argparse.Namespace) -> str | None:
    """The URL that was given, else the environment's, else None; this process uses it from now on."""
    from modcore.gateway.settings import configure, gateway_url

    if args.gateway is not None:
        configure(gateway=args.gateway)
    return gateway_url()


def service_name(model: str) -> str:
    """What the service of a model is called: its name, without what a service's name may not hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).lstrip("._-")[:128] or "model"
