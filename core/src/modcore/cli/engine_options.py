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
        "help": "requests that are answered together at most (default: 64)",
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


#: Each field of `VisionOptions` that is set here, likewise.
VISION_OPTIONS: dict[str, dict[str, Any]] = {
    "max_image_pixels": {
        "metavar": "N",
        "type": int,
        "help": "pixels of an image at most (default: 16 million)",
    },
    "max_image_bytes": {
        "metavar": "N",
        "type": int,
        "help": "bytes of an encoded image at most (default: 20 million)",
    },
    "max_tiles": {
        "metavar": "N",
        "type": int,
        "help": "tiles of an image at most, its thumbnail among them (default: the checkpoint's)",
    },
    "max_request_tiles": {
        "metavar": "N",
        "type": int,
        "help": "tiles of all images of a request at most (default: 256)",
    },
    "allow_media_domain": {
        "metavar": "HOST",
        "action": "append",
        "help": "fetch images from this host, by https (may be repeated; default: from none)",
    },
}


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _add_options(parser.add_argument_group("engine"), OPTIONS)
    _add_options(parser.add_argument_group("images"), VISION_OPTIONS)


def _add_options(group: argparse._ArgumentGroup, options: dict[str, dict[str, Any]]) -> None:
    for name, how in options.items():
        flag = how.get("flag", f"--{name.replace('_', '-')}")
        settings = {key: value for key, value in how.items() if key != "flag"}
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, **settings)


def given_engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by parameter name."""
    given = {name: value for name, value in vars(args).items() if name in OPTIONS}
    vision = {name: value for name, value in vars(args).items() if name in VISION_OPTIONS}
    return {**given, "vision": vision} if vision else given


def build_engine(checkpoint: str, args: argparse.Namespace) -> Engine:
    """The engine for `checkpoint`; raises what `Engine.from_pretrained` raises."""
    from modcore.engine import Engine

    return Engine.from_pretrained(checkpoint, **given_engine_options(args))
