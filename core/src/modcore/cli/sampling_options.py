"""The options of ``modcore generate`` that shape an answer, and the parameters that they make.

An option's name is the parameter's of `SamplingParams`; what is not given is left to it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modcore.errors import InvalidRequest

if TYPE_CHECKING:
    from modcore.engine import SamplingParams

DEFAULT_MAX_TOKENS = 128

#: By heading of the help; each parameter, and how argparse reads it.
GROUPS: dict[str, dict[str, dict[str, Any]]] = {
    "length": {
        "max_tokens": {
            "metavar": "N",
            "type": int,
            "help": f"tokens to generate at most (default: {DEFAULT_MAX_TOKENS})",
        },
        "min_tokens": {
            "metavar": "N",
            "type": int,
            "help": "do not end before so many tokens",
        },
        "stop": {
            "metavar": "TEXT",
            "action": "append",
            "help": "end before this text; may be given several times",
        },
        "ignore_eos": {
            "action": "store_true",
            "help": "go on behind the model's end token",
        },
    },
    "sampling": {
        "temperature": {
            "metavar": "T",
            "type": float,
            "help": "0 takes the likeliest token (default: 1)",
        },
        "top_p": {
            "metavar": "P",
            "type": float,
            "help": "sample from the likeliest tokens that hold this probability",
        },
        "top_k": {
            "metavar": "K",
            "type": int,
            "help": "sample from the K likeliest tokens",
        },
        "min_p": {
            "metavar": "P",
            "type": float,
            "help": "sample from tokens P times as likely as the likeliest",
        },
        "typical_p": {
            "metavar": "P",
            "type": float,
            "help": "sample from the most typical tokens that hold this probability",
        },
        "repetition_penalty": {
            "metavar": "R",
            "type": float,
            "help": "divide by it what prompt and answer hold already",
        },
        "presence_penalty": {
            "metavar": "X",
            "type": float,
            "help": "take it from tokens that the answer holds",
        },
        "frequency_penalty": {
            "metavar": "X",
            "type": float,
            "help": "take it from them for each time",
        },
        "seed": {
            "metavar": "N",
            "type": int,
            "help": "makes sampling repeatable",
        },
    },
    "answer": {
        "n": {
            "metavar": "N",
            "type": int,
            "help": "several answers to the prompt",
        },
        "logprobs": {
            "metavar": "K",
            "type": int,
            "help": "log probabilities of each token and the K likeliest; needs --json",
        },
        "json_schema": {
            "metavar": "FILE",
            "help": "the answer is JSON of the schema in this file",
        },
        "regex": {
            "metavar": "TEXT",
            "help": "the whole answer matches this expression",
        },
    },
}


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options, under headings of their own."""
    for title, options in GROUPS.items():
        group = parser.add_argument_group(title)
        for name, how in options.items():
            flag = f"--{name.replace('_', '-')}"
            group.add_argument(flag, dest=name, default=argparse.SUPPRESS, **how)


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    """The parameters that `args` ask for; raises InvalidRequest, with the parameter that is wrong."""
    from modcore.engine import SamplingParams
    from modcore.engine.sampling.params import MAX_TOKENS

    names = {name for options in GROUPS.values() for name in options}
    given = {name: value for name, value in vars(args).items() if name in names}
    if "json_schema" in given:
        given["json_schema"] = _read(given["json_schema"])
    if "max_tokens" not in given:
        given["max_tokens"] = max(DEFAULT_MAX_TOKENS, min(given.get("min_tokens", 0), MAX_TOKENS))
    return SamplingParams(**given)


def _read(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InvalidRequest(f"{file} cannot be read: {reason}.", param="json_schema") from error
