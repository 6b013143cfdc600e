"""The options of the engine, the same for every command that runs one.

An option's name is the parameter's of `Engine.from_pretrained`; what is not given is left to it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modcore.engine import Engine

#: Each parameter of `Engine.from_pretrained`, and how argparse reads it, under another `flag` than its name.
OPTIONS: dict[str, dict[str, Any]] = {
    "dtype": {
        "metavar": "DTYPE",
        "help": "auto (the checkpoint's, default), float32 or bfloat16",
    },
    "weights": {
        "metavar": "VARIANT",
        "help": "store the weights as this variant does, such as int8 (`modcore explain` lists them)",
    },
    "layers": {
        "metavar": "VARIANT",
        "help": "run this variant of the layers (as above)",
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
    "context_length": {
        "metavar": "N",
        "type": int,
        "help": "the most tokens of a prompt and its answer (default: the checkpoint's)",
    },
    "lengths": {
        "metavar": "HOW",
        "help": "how long answers are expected to become: full (all they may, default) or past-future "
        "(as those seen before)",
    },
    "prefix_cache": {
        "flag": "--no-prefix-cache",
        "action": "store_false",
        "help": "read every prompt whole, even what another one began with",
    },
}


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("engine")
    for name, how in OPTIONS.items():
        flag = how.get("flag", f"--{name.replace('_', '-')}")
        settings = {key: value for key, value in how.items() if key != "flag"}
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, **settings)


def given_engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by parameter name."""
    return {name: value for name, value in vars(args).items() if name in OPTIONS}


def build_engine(checkpoint: str, args: argparse.Namespace) -> Engine:
    """The engine for `checkpoint`; raises what `Engine.from_pretrained` raises."""
    from modcore.engine import Engine

    return Engine.from_pretrained(checkpoint, **given_engine_options(args))
