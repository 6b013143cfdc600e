"""The key that a server asks its clients for: from the command line, the environment or a file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from modcore.errors import InvalidRequest

API_KEY = "MODCORE_API_KEY"
_MAX_FILE = 4096  # bytes


def add_api_key_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--api-key`` and ``--api-key-file``."""
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"ask clients for this key; anyone on this machine can read a command line, so rather set {API_KEY} or use --api-key-file",
    )
    given.add_argument(
        "--api-key-file", metavar="FILE", help="ask clients for the key that this file holds"
    )


def api_key(args: argparse.Namespace) -> str | None:
    """The key, or None when there is none; raises InvalidRequest for one that checks nothing."""
    from_environment = os.environ.pop(API_KEY, None)  # no child of ours shall inherit it
    if args.api_key is not None:
        return _verified(args.api_key, "api_key")
    if args.api_key_file is not None:
        return _verified(_read(Path(args.api_key_file)), "api_key_file")
    return None if from_environment is None else _verified(from_environment, "api_key")


def verify_key_for(host: str, key: str | None) -> None:
    """Raise InvalidRequest when others can reach `host` and there is no key."""
    from modcore.serve.server import is_loopback

    if key is None and not is_loopback(host):
        raise InvalidRequest(
            f"{host} can be reached by others, and there is no key; set {API_KEY}, or listen on 127.0.0.1.",
            param="host",
        )


def _read(path: Path) -> str:
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise InvalidRequest(
                f"{path} is longer than {_MAX_FILE} bytes; it has to hold the key and nothing else.",
                param="api_key_file",
            )
        return content.decode("ascii")
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error.strerror}.", param="api_key_file"
        ) from error
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"{path} holds more than printable ASCII.", param="api_key_file"
        ) from None


def _verified(key: str, option: str) -> str:
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise InvalidRequest("the key has to be printable ASCII and not empty.", param=option)
    return key
