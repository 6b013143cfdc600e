"""``modcore gateway``: the front door, one HTTP address for every registered service."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from modcore.cli.api_key import add_api_key_options, api_key, verify_key_for
from modcore.cli.joining import add_gateway_option, shared_gateway
from modcore.errors import InvalidRequest, MissingExtra
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.gateway.directory import Directory
    from modcore.serve.front_door.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add_gateway_option(parser, "where the services are registered")
    add(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: 127.0.0.1, this machine only)",
    )
    add("--port", type=int, default=8080, help="the port; 0 takes a free one (default: 8080)")
    add_api_key_options(parser)
    add(
        "--capacity",
        type=int,
        default=1024,
        metavar="N",
        help="calls under way at most; more are answered 503 (default: 1024)",
    )
    add(
        "--service-capacity",
        type=int,
        metavar="N",
        help="calls of one service or model at most; more are answered 429 (default: half of --capacity)",
    )
    add(
        "--timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="what one answer may take at most, streams included (default: 600)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = _settings(args)
    try:
        from modcore.serve import server
        from modcore.serve.front_door import process
        from modcore.serve.front_door.app import FrontDoor
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "modcore":
            raise
        raise MissingExtra(
            f"The front door needs {error.name}, which is not installed; try: pip install 'modcore[serve]'"
        ) from error
    verify_key_for(args.host, settings.api_key)
    url, directory, token = _registry(args)
    listener = server.open_listener(args.host, args.port)
    directory.start()
    _say_what_is_known(url, directory)

    def announce() -> None:
        print(f"url: {server.url_of(listener)}", flush=True)

    try:
        process.run(FrontDoor(directory, token, settings), directory, listener, announce)
    finally:
        directory.close()
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    from modcore.serve.front_door.settings import Settings

    if not 0 <= args.port <= 65535:
        raise InvalidRequest(f"{args.port} is no port; choose one from 0 to 65535.", param="port")
    if not 0 < args.timeout < 1e9:
        raise InvalidRequest(
            f"{args.timeout:g} s is no time; give it more than 0.", param="timeout"
        )
    if args.service_capacity is None:
        args.service_capacity = max(1, args.capacity // 2)
    for name in ("capacity", "service_capacity"):
        if getattr(args, name) < 1:
            raise InvalidRequest(
                f"{getattr(args, name)} lets nobody in; give it 1 or more.", param=name
            )
    return Settings(
        api_key=api_key(args),
        timeout=args.timeout,
        capacity=args.capacity,
        service_capacity=args.service_capacity,
    )


def _registry(args: argparse.Namespace) -> tuple[str, Directory, str]:
    """The gateway's URL for people, its directory, and the token of the cluster's services."""
    from modcore.gateway.addresses import shown
    from modcore.gateway.directory import shared_directory
    from modcore.gateway.secret import cluster_key

    url = shared_gateway(args)
    if url is None:
        raise InvalidRequest(
            "there is no gateway; name the one that the services register in, here or in MODCORE_GATEWAY.",
            param="gateway",
        )
    return shown(url), shared_directory(url), cluster_key(url).token


def _say_what_is_known(url: str, directory: Directory) -> None:
    """Tell when the store is down: with what it was, or with nothing, the front door opens all the same."""
    if directory.error is None:
        return
    count = sum(map(len, directory.services().values()))
    known = (
        f"instances known from {directory.age:.0f} s ago: {count}" if count else "none is known yet"
    )
    print(f"{url} does not answer ({directory.error}); {known}; trying again.", file=sys.stderr)


COMMAND = Command(
    "gateway", "One HTTP address in front of every registered service.", add_arguments, run
)
