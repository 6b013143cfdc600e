"""The options of the engine, the same for every command that runs one.

An option's name is the parameter's of `Engine.from_pretrained`; what is not given is left to it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modcore.engine import Engine

#: Each parameter of `Engine.from_pretrained`, and how argparse reads it.
OPTIONS: dict[str, dict[str, Any]] = {
    "dtype": {
        "metavar": "DTYPE",
        "help": "auto (the checkpoint's, default), float32 or bfloat16",
    },
    "kv_tokens": {
        "metavar": "N",
        "type": int,
        "help": "tokens that the KV cache holds at most (default: as many as fit)",
    },
    "max_batch": {
        "metavar": "N",
        "type": int,
        "help": "requests that are answered together at most",
    },
}


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("engine")
    for name, how in OPTIONS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", dest=name, default=argparse.SUPPRESS, **how
        )


def given_engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by parameter name."""
    return {name: value for name, value in vars(args).items() if name in OPTIONS}


def build_engine(checkpoint: str, args: argparse.Namespace) -> Engine:
    """The engine for `checkpoint`; raises what `Engine.from_pretrained` raises."""
    from modcore.engine import Engine

    return Engine.from_pretrained(checkpoint, **given_engine_options(args))
