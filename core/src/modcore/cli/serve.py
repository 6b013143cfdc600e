"""``modcore serve``: a checkpoint over HTTP, with the OpenAI API."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from modcore.cli.engine_options import add_engine_options, build_engine
from modcore.errors import InvalidRequest, MissingExtra
from modcore.plugins.commands import Command

API_KEY = "MODCORE_API_KEY"


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
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"ask clients for this key; anyone on this machine can read a command line, so rather set {API_KEY}",
    )
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
    api_key = _api_key(args)
    if not 0 <= args.port <= 65535:
        raise InvalidRequest(
            f"{args.port} is not a port; choose one from 0 to 65535.", param="port"
        )
    if args.model_name == "":
        raise InvalidRequest("the name is empty; give it some text.", param="model_name")
    if not server.is_loopback(args.host) and not api_key:
        raise InvalidRequest(
            f"{args.host} can be reached by others, and there is no key; set {API_KEY}, or listen on 127.0.0.1.",
            param="host",
        )
    # Taken before the model is loaded: whoever waits minutes for it must not learn then that the port is taken.
    listener = server.open_listener(args.host, args.port)

    from modcore.engine import AsyncEngine

    engine = build_engine(args.checkpoint, args)
    engine.preparer.warm_up()
    name = args.model_name or Path(args.checkpoint).resolve().name
    url = server.url_of(listener)

    def announce() -> None:
        print(
            f"model: {name} ({type(engine.model).__name__}, {str(engine.model.dtype).removeprefix('torch.')}, context {engine.max_length})"
        )
        print(f"url: {url}", flush=True)

    async_engine = AsyncEngine(engine)
    try:
        app = create_app(async_engine, name, api_key)
        server.run(app, listener, on_ready=announce, on_overdue=async_engine.shut_down)
    finally:
        async_engine.shut_down()
        engine.close()  # what is being read for others ends with it
        async_engine.close()
    return 0


def _api_key(args: argparse.Namespace) -> str | None:
    key = os.environ.pop(API_KEY, None) if args.api_key is None else args.api_key
    if key is None:
        return None
    if not key.strip() or not key.isascii() or not key.isprintable():
        raise InvalidRequest("the key has to be printable ASCII and not empty.", param="api_key")
    return str(key).strip()


COMMAND = Command("serve", "Serve a checkpoint over HTTP, with the OpenAI API.", add_arguments, run)
