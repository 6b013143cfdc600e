"""The options of ``modcore bench``."""

from __future__ import annotations

import argparse
import secrets
from typing import TYPE_CHECKING

from modcore.cli.engine_options import add_engine_options
from modcore.errors import InvalidRequest

if TYPE_CHECKING:
    from modcore.bench.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "target", metavar="TARGET", help="a checkpoint directory, or a server's http:// URL"
    )
    _add_load(parser)
    _add_server(parser)
    _add_output(parser)
    add_engine_options(parser)


def _add_load(parser: argparse.ArgumentParser) -> None:
    load = parser.add_argument_group("load")
    load.add_argument(
        "--concurrency",
        metavar="N,N",
        default="1,8,32",
        help="requests at a time, measured one after the other (default: 1,8,32)",
    )
    load.add_argument(
        "--prompt-tokens",
        metavar="N",
        default="128",
        help="tokens of each prompt, or a range as 16-256 (default: 128)",
    )
    load.add_argument(
        "--output-tokens",
        metavar="N",
        default="64",
        help="tokens of each answer, or a range (default: 64)",
    )
    load.add_argument(
        "--requests",
        metavar="N",
        type=int,
        help="requests at each concurrency (default: four times the concurrency, 8 at least)",
    )
    load.add_argument(
        "--request-rate",
        metavar="R",
        type=float,
        help="requests a second that arrive at random; the concurrency limits those under way",
    )
    load.add_argument(
        "--shared-prefix",
        metavar="N",
        type=int,
        default=0,
        help="tokens with which all prompts begin (default: 0)",
    )
    load.add_argument(
        "--warmup",
        metavar="N",
        type=int,
        help="requests before each concurrency, not measured (default: as many as the concurrency)",
    )
    load.add_argument("--seed", metavar="N", type=int, help="draws the same requests again")
    load.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=600.0,
        help="seconds that one answer may take (default: 600)",
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("server")
    server.add_argument(
        "--model", metavar="NAME", help="the model (default: the server's only one)"
    )
    server.add_argument(
        "--api-key-env", metavar="NAME", help="the environment variable that holds the server's key"
    )
    server.add_argument(
        "--text-prompts",
        action="store_true",
        help="send words, about one token each, to a server that takes no token ids",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print JSON instead of the table")
    output.add_argument("--output", metavar="FILE", help="write the JSON to this file as well")
    output.add_argument("--plot", metavar="FILE.png", help="draw the figures")


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the options ask for; raises InvalidRequest."""
    from modcore.bench.settings import Lengths, Settings

    try:
        concurrency = tuple(int(each) for each in args.concurrency.split(",") if each.strip())
    except ValueError:
        raise InvalidRequest(
            f"{args.concurrency!r} is no list of numbers; give it as 1,8,32.", param="concurrency"
        ) from None
    return Settings(
        concurrency=concurrency,
        prompt_tokens=Lengths.parse(args.prompt_tokens, "prompt_tokens"),
        output_tokens=Lengths.parse(args.output_tokens, "output_tokens"),
        seed=secrets.randbits(32) if args.seed is None else args.seed,
        requests=args.requests,
        request_rate=args.request_rate,
        shared_prefix=args.shared_prefix,
        warmup=args.warmup,
        timeout=args.timeout,
        text_prompts=args.text_prompts,
    )
