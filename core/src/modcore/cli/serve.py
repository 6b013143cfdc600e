"""``modcore serve``: a checkpoint over HTTP, with the OpenAI API."""

from __future__ import annotations

import argparse
import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modcore.cli.api_key import add_api_key_options, api_key, verify_key_for
from modcore.cli.engine_options import add_engine_options, build_engine
from modcore.cli.joining import add_gateway_option, shared_gateway, verify_allowed
from modcore.errors import InvalidRequest, MissingExtra
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.deploy.place import Place

#: Requests that a server takes: what it does not answer at once waits there.
CAPACITY = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint directory")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="the port; 0 takes a free one (default: 8000)"
    )
    parser.add_argument(
        "--model-name", metavar="NAME", help="the name that clients use (default: the directory's)"
    )
    add_api_key_options(parser)
    add_gateway_option(parser, "register the model where the front door (modcore gateway) finds it")
    add_engine_options(parser)


def run(args: argparse.Namespace) -> int:
    """Load the checkpoint and serve it until SIGTERM or SIGINT."""
    try:
        from modcore.serve import server
        from modcore.serve.app import create_app
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"):
            raise
        raise MissingExtra(
            f"Serving needs {error.name}, which is not installed; try: pip install 'modcore[serve]'"
        ) from error
    key = api_key(args)
    if not 0 <= args.port <= 65535:
        raise InvalidRequest(
            f"{args.port} is not a port; choose one from 0 to 65535.", param="port"
        )
    if args.model_name == "":
        raise InvalidRequest("the name is empty; give it some text.", param="model_name")
    verify_key_for(args.host, key)
    gateway = shared_gateway(args)
    if gateway is not None:
        verify_allowed(args.host)
    # Taken before the model is loaded: whoever waits minutes for it must not learn then that the port is taken.
    listener = server.open_listener(args.host, args.port)

    name = args.model_name or Path(args.checkpoint).resolve().name
    url = server.url_of(listener)
    place, token = _place(gateway, name, url)

    from modcore.engine import AsyncEngine

    engine = build_engine(args.checkpoint, args)
    engine.preparer.warm_up()

    def announce() -> None:
        print(
            f"model: {name} ({type(engine.model).__name__}, {str(engine.model.dtype).removeprefix('torch.')}, context {engine.max_length})"
        )
        print(f"url: {url}", flush=True)

    def on_ready() -> None:
        place.register(then=announce)

    async_engine = AsyncEngine(engine)
    try:
        app = create_app(async_engine, name, key, token)
        server.run(app, listener, on_ready, async_engine.shut_down, place.drain)
    finally:
        place.leave()
        async_engine.close()
    place.raise_failure()
    return 0


def _place(gateway: str | None, model: str, url: str) -> tuple[Place, str | None]:
    """Where the model is registered, and the token with which the cluster calls it; neither without a gateway."""
    from modcore.deploy.handover import Handover
    from modcore.deploy.place import Place
    from modcore.gateway.instance import Instance

    # Nothing but time is lost when an answer is made twice.
    instance = Instance(
        service=_service_name(model),
        url=url,
        models=(model,),
        capacity=CAPACITY,
        idempotent=True,
    )
    if gateway is None:
        return Place(Handover(), instance), None
    if ip_address(urlsplit(url).hostname or "").is_unspecified:
        raise InvalidRequest(
            f"{url} is no address that others could call; name the one under which they reach this machine.",
            param="host",
        )
    from modcore.gateway.secret import cluster_key

    key = cluster_key(gateway)
    handover = Handover(token=key.token, gateway=gateway, cluster_key=key.secret)
    return Place(handover, instance), key.token


def _service_name(model: str) -> str:
    """What the service of a model is called: its name, without what a service's name may not hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).lstrip("._-")[:128] or "model"


COMMAND = Command("serve", "Serve a checkpoint over HTTP, with the OpenAI API.", add_arguments, run)
