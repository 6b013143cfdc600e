"""``--gateway``: which registry of services a command uses."""

from __future__ import annotations

import argparse

from modcore.errors import InvalidRequest

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


def shared_gateway(args: argparse.Namespace) -> str | None:
    """As `used_gateway`; raises InvalidRequest for one that other processes cannot see."""
    from modcore.gateway.addresses import verify_shared
    from modcore.gateway.base import GatewayError

    url = used_gateway(args)
    try:
        if url is not None:
            verify_shared(url)
    except GatewayError as error:
        raise InvalidRequest(str(error), param="gateway") from None
    return url


def verify_allowed(host: str) -> None:
    """Raise InvalidRequest for a `host` outside the networks in which callers look for services."""
    from modcore.gateway.networks import NETWORKS, AllowedNetworks

    networks = AllowedNetworks.from_environment()
    url = f"http://[{host}]" if ":" in host else f"http://{host}"
    if not networks.allows(url):
        raise InvalidRequest(f"{host} is not in {NETWORKS}, which has {networks}.", param="host")
