"""What travels between processes, as bytes: values (`codec`) and errors (`errors`).

JSON where it can hold a value, msgpack otherwise, arrays and tensors in it as safetensors. A value arrives as
itself or is refused with a sentence; nothing is ever unpickled. Knows nothing of HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modcore.errors import MissingExtra
from modcore.wire.errors import RemoteError, describe, rebuild
from modcore.wire.refusals import CannotTravel, Malformed, NeedsImport

if TYPE_CHECKING:
    from modcore.wire.codec import decode, encode

JSON = "application/json"
MSGPACK = "application/x-msgpack"

__all__ = [
    "JSON",
    "MSGPACK",
    "CannotTravel",
    "Malformed",
    "NeedsImport",
    "RemoteError",
    "decode",
    "describe",
    "encode",
    "rebuild",
]


def __getattr__(name: str) -> Any:
    # A program that calls no service needs no codec, and a light installation has none.
    if name not in ("decode", "encode"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from modcore.wire import codec
    except ModuleNotFoundError as error:
        if error.name != "msgspec":
            raise
        raise MissingExtra(
            "Calling a service needs msgspec, which is not installed; try: pip install 'modcore[serve]'"
        ) from error
    globals().update(decode=codec.decode, encode=codec.encode)
    return globals()[name]
