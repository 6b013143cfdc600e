"""Values to bytes and back: JSON where it can hold a value, msgpack otherwise.

Arrive as themselves: None, bool, int (14 000 bits), float (NaN and infinities too), str, bytes, bytearray, list, tuple,
dict, set, frozenset, complex, Decimal, UUID, date, time, datetime, timedelta, NumPy arrays and scalars, torch
tensors (`extensions`); what a parallel returns arrives as a tuple. All else is refused by name: subclasses too, which would arrive as their parents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from itertools import repeat
from typing import Any

import msgspec

from modcore.errors import named_kind
from modcore.flow.values import package
from modcore.wire import JSON, MSGPACK, bounds
from modcore.wire.extensions import ENCODER, packed, unpack
from modcore.wire.refusals import CannotTravel, Malformed

_json_encoder, _json_decoder = msgspec.json.Encoder(), msgspec.json.Decoder()
_QUIET = frozenset({str, bool, type(None)})  # in JSON whatever their value
_TOO_DEEP = f"it is nested more than {bounds.MAX_DEPTH} deep, or holds itself; make it flatter"


def encode(value: Any, *, json_only: bool = False) -> tuple[str, bytes]:
    """The content type and the bytes of `value`; raises CannotTravel.

    `json_only` is for readers who know no msgpack: tuples become lists then, which is all that JSON has.
    """
    try:
        kind, body = _encoded(value, json_only)
        bounds.verify_size(kind, body)  # here, where somebody knows what it is
    except Malformed as error:
        raise CannotTravel(str(error)) from None
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 10) : error.start + 11]
        raise CannotTravel(
            f"the text …{around!a}… holds half a character (a lone surrogate); take it out"
        ) from None
    except RecursionError:
        raise CannotTravel(_TOO_DEEP) from None
    return kind, body


def decode(content_type: str, body: bytes, *, may_import: bool = True) -> Any:
    """The value in `body`; raises Malformed with the place.

    With `may_import` false, raises NeedsImport where a library would have to be loaded first.
    """
    try:
        if content_type == MSGPACK:
            return _from_msgpack(body, may_import)
        return _from_json(body)
    except RecursionError:
        raise Malformed(
            f"it is nested more than {bounds.MAX_DEPTH} deep; make it flatter"
        ) from None
    except msgspec.DecodeError as error:
        reason = None if content_type == MSGPACK else _reason_in_json(body)
        where = "" if "(byte" in str(error) else f" (byte {len(body)})"
        raise Malformed(reason or f"{error}{where}") from None
    except UnicodeDecodeError as error:
        place = body.find(error.object) + error.start if content_type == MSGPACK else _no_utf8(body)
        raise Malformed(f"a text is not UTF-8 (byte {place})") from None


def _encoded(value: Any, json_only: bool) -> tuple[str, bytes]:
    if fits_json(value):
        return JSON, _json_encoder.encode(value)
    if json_only:
        return JSON, _json_encoder.encode(_json_form(value))
    return MSGPACK, ENCODER.encode(packed(value))


def fits_json(value: Any, depth: int = 0) -> bool:
    """Whether JSON holds `value` as it is; raises CannotTravel when it is too deep."""
    kind = type(value)
    if kind in _QUIET:
        return True
    if kind is int:
        return _is_short(value)
    if kind is float:
        return math.isfinite(value)
    if depth > bounds.MAX_DEPTH:
        raise CannotTravel(_TOO_DEEP)
    if kind is list:
        return _all_fit(value, depth)
    return kind is dict and _are_texts(value) and _all_fit(value.values(), depth)


def _all_fit(items: Collection[Any], depth: int) -> bool:
    kinds = set(map(type, items))
    if kinds <= _QUIET:
        return True
    if kinds == {float}:
        return all(map(math.isfinite, items))
    if kinds == {int}:
        return _is_short(max(items)) and _is_short(min(items))
    return all(map(fits_json, items, repeat(depth + 1)))


def _are_texts(keys: Collection[Any]) -> bool:
    return set(map(type, keys)) <= {str}


def _is_short(number: int) -> bool:
    return number.bit_length() <= bounds.MAX_INT_BITS


def _json_form(value: Any, depth: int = 0) -> Any:
    """`value` with tuples as lists; raises CannotTravel for what JSON cannot hold."""
    if depth > bounds.MAX_DEPTH:
        raise CannotTravel(f"it is nested more than {bounds.MAX_DEPTH} deep")
    kind = type(value)
    if kind in (list, tuple, package):
        return [_part(each, depth, f"[{i}]") for i, each in enumerate(value)]
    if kind is dict and _are_texts(value):
        return {key: _part(each, depth, f".{key}") for key, each in value.items()}
    if fits_json(value):
        return value
    raise CannotTravel(
        f"JSON has no form for {_named(value)}; ask for {MSGPACK}, which has more, or send something else"
    )


def _part(value: Any, depth: int, place: str) -> Any:
    try:
        return _json_form(value, depth + 1)
    except CannotTravel as error:
        raise error.inside(place) from None


def _named(value: Any) -> str:
    if type(value) is dict:
        return f"the key {next(key for key in value if type(key) is not str)!r} of a dict"
    return repr(value) if type(value) in (float, int) else named_kind(type(value))


def _from_json(body: bytes) -> Any:
    bounds.verify_json_size(body)
    try:
        value = _json_decoder.decode(body)
    except msgspec.ValidationError as error:  # numbers that Python would change
        raise Malformed(f"a number is too large: {error}") from None
    bounds.verify_json_keys(body, value)
    return value


def _from_msgpack(body: bytes, may_import: bool) -> Any:
    bounds.verify_msgpack_size(body)
    value = unpack(body, may_import)
    bounds.count_pairs(value)
    return value


def _reason_in_json(body: bytes) -> str | None:
    """What is wrong, and at which byte: msgspec says only how far it has read."""
    try:
        json.loads(text := body.decode())
    except json.JSONDecodeError as error:
        return f"{error.msg} (byte {len(text[: error.pos].encode())})"
    except (ValueError, RecursionError):
        pass
    return None


def _no_utf8(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0
