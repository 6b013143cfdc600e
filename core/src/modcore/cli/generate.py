"""``modcore generate``: complete one prompt."""

from __future__ import annotations

import argparse
import json
from typing import Any

from modcore.plugins.commands import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint directory")
    parser.add_argument("--prompt", metavar="TEXT", required=True, help="the text to continue")
    parser.add_argument(
        "--max-tokens",
        metavar="N",
        type=int,
        default=128,
        help="tokens to generate at most (default: 128)",
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        default=1.0,
        help="0 takes the likeliest token (default: 1)",
    )
    parser.add_argument(
        "--top-p",
        metavar="P",
        type=float,
        default=1.0,
        help="sample from the likeliest tokens that hold this probability (default: 1)",
    )
    parser.add_argument("--seed", metavar="N", type=int, help="makes sampling repeatable")
    parser.add_argument(
        "--stop",
        metavar="TEXT",
        action="append",
        default=[],
        help="end before this text; may be given several times",
    )
    add_engine_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print JSON once the answer is finished"
    )


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the engine, the same for every command that runs one."""
    parser.add_argument(
        "--dtype",
        metavar="DTYPE",
        default="auto",
        help="auto (the checkpoint's, default), float32 or bfloat16",
    )
    parser.add_argument(
        "--weights",
        metavar="VARIANT",
        help="store the weights as this variant does, such as int8 (`modcore explain` lists them)",
    )
    parser.add_argument(
        "--layers", metavar="VARIANT", help="run this variant of the layers (as above)"
    )


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of `add_engine_arguments` are to ``Engine.from_pretrained``."""
    return {"dtype": args.dtype, "weights": args.weights, "layers": args.layers}


def run(args: argparse.Namespace) -> int:
    """Generate: streamed as text, or at once as JSON."""
    from modcore.engine import Engine, SamplingParams

    params = SamplingParams(
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
        stop=args.stop,
    )
    if not args.prompt:
        from modcore.errors import InvalidRequest

        raise InvalidRequest("the prompt is empty; give it some text.", param="prompt")
    engine = Engine.from_pretrained(args.checkpoint, **engine_options(args))
    if args.json:
        print(json.dumps(engine.generate([args.prompt], params)[0].to_json(), ensure_ascii=False))
        return 0
    for piece in engine.stream(args.prompt, params):
        print(piece.text, end="", flush=True)
    print()
    return 0


COMMAND = Command("generate", "Complete one prompt with a checkpoint.", add_arguments, run)
