"""The msgpack extension types: values that msgpack itself would change.

Each has a code, a form of plain msgpack, and the way back. A new kind of value is a new row of a table.
"""

from __future__ import annotations

import datetime
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from msgspec.msgpack import Ext

from modcore.errors import named_kind
from modcore.flow.values import package
from modcore.wire import bounds, tensors
from modcore.wire.refusals import CannotTravel, Malformed, NeedsImport

ENCODER = msgspec.msgpack.Encoder()

_LEAST, _MOST = -(2**63), 2**64 - 1  # whole numbers that msgpack holds itself
_BARE = frozenset({str, bool, type(None), float, bytes})


class _Kind(NamedTuple):
    """`form` makes plain values of one, which may hold further values, and `back` makes one of them."""

    code: int
    type: type
    form: Callable[[Any], Any]
    back: Callable[[Any], Any]


def packed(value: Any, depth: int = 0) -> Any:
    """`value` as msgpack holds it, with extensions for what it would change; raises CannotTravel."""
    if depth > bounds.MAX_DEPTH:
        raise CannotTravel(
            f"it is nested more than {bounds.MAX_DEPTH} deep, or holds itself; make it flatter"
        )
    kind = type(value)
    if kind in _BARE:
        return value
    if kind is int and _LEAST <= value <= _MOST:
        return value
    if kind is list:
        return _packed_items(value, depth)
    if kind is dict and set(map(type, value)) <= {str}:
        return {key: _inside(each, depth, f".{key}") for key, each in value.items()}
    if (row := _BY_TYPE.get(kind)) is not None:
        return Ext(row.code, ENCODER.encode(packed(row.form(value), depth + 1)))
    if (form := tensors.packed(value)) is not None:
        return Ext(*form)
    raise CannotTravel(_refusal(value))


def unpack(body: bytes | memoryview, may_import: bool = True) -> Any:
    """The value in `body`; raises Malformed, NeedsImport, and what msgspec raises."""
    return (_DECODER if may_import else _CAREFUL_DECODER).decode(body)


def _packed_items(items: list[Any], depth: int) -> list[Any]:
    if set(map(type, items)) <= _BARE:
        return items
    return [_inside(each, depth, f"[{i}]") for i, each in enumerate(items)]


def _inside(value: Any, depth: int, place: str) -> Any:
    try:
        return packed(value, depth + 1)
    except CannotTravel as error:
        raise error.inside(place) from None


def _refusal(value: Any) -> str:
    kind = type(value)
    parent = next(
        (
            each
            for each in kind.__mro__[1:]
            if each in _BARE or each in _BY_TYPE or each in (int, list, dict)
        ),
        None,
    )
    if parent is not None and kind.__mro__[1] is not object:
        return f"{named_kind(kind)} would arrive as {named_kind(parent)}; make it one first"
    return f"{named_kind(kind)} has no form on the wire; send numbers, texts, lists, dicts, bytes, arrays or tensors"


def _unpack_extension(code: int, data: memoryview) -> Any:
    if code in tensors.CODES:
        return tensors.unpack(code, bytes(data))
    row = _BY_CODE.get(code)
    if row is None:
        raise Malformed(f"there is no extension type {code}")
    return _back(row, unpack(data))


def _unpack_extension_carefully(code: int, data: memoryview) -> Any:
    library = tensors.CODES.get(code)
    if library is not None and library not in sys.modules:
        raise NeedsImport(library)
    row = _BY_CODE.get(code)
    return _unpack_extension(code, data) if row is None else _back(row, unpack(data, False))


def _back(row: _Kind, form: Any) -> Any:
    try:
        return row.back(form)
    except (TypeError, ValueError, ArithmeticError, AttributeError, KeyError) as error:
        raise Malformed(f"an extension {row.code} holds no {row.type.__name__}: {error}") from None


_DECODER = msgspec.msgpack.Decoder(ext_hook=_unpack_extension)
_CAREFUL_DECODER = msgspec.msgpack.Decoder(ext_hook=_unpack_extension_carefully)


def _int_form(number: int) -> bytes:
    if number.bit_length() > bounds.MAX_INT_BITS:
        raise CannotTravel(
            f"a whole number of more than {bounds.MAX_INT_BITS} bits; send it as text"
        )
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def _int_back(data: bytes) -> int:
    if len(data) > bounds.MAX_INT_BITS // 8 + 1:
        raise ValueError(f"it has more than {bounds.MAX_INT_BITS} bits")
    return int.from_bytes(data, "big", signed=True)


def _moment_form(moment: datetime.datetime | datetime.time) -> list[Any]:
    zone = moment.tzinfo
    # A zone of fixed offset is all that the text keeps.
    if zone is not None and repr(zone) != repr(_zone_of(moment)):
        raise CannotTravel(
            f"the time zone {zone} would be lost; send it in UTC: .astimezone(datetime.timezone.utc)"
        )
    return [moment.isoformat(), moment.fold]


def _zone_of(moment: datetime.datetime | datetime.time) -> datetime.tzinfo | None:
    return type(moment).fromisoformat(moment.isoformat()).tzinfo


def _moment_back(kind: Any) -> Callable[[list[Any]], Any]:
    def back(form: list[Any]) -> Any:
        text, fold = form
        return kind.fromisoformat(text).replace(fold=fold)

    return back


def _unique(values: list[Any]) -> set[Any]:
    result = set(values)
    if len(result) != len(values):
        raise ValueError("an element comes twice")
    return result


def _dict_back(form: list[Any]) -> dict[Any, Any]:
    keys, values = form
    result = dict(zip(keys, values, strict=True))
    if len(result) != len(keys):
        raise ValueError("a key comes twice")
    return result


_KINDS = (
    _Kind(1, tuple, list, tuple),
    _Kind(2, set, list, _unique),
    _Kind(3, frozenset, list, lambda form: frozenset(_unique(form))),
    _Kind(4, dict, lambda value: [list(value), list(value.values())], _dict_back),
    _Kind(5, int, _int_form, _int_back),
    _Kind(6, bytearray, bytes, lambda form: bytearray(memoryview(form))),
    _Kind(7, complex, lambda value: [value.real, value.imag], lambda form: complex(*form)),
    _Kind(8, Decimal, str, Decimal),
    _Kind(9, uuid.UUID, lambda value: value.bytes, lambda form: uuid.UUID(bytes=form)),
    _Kind(10, datetime.datetime, _moment_form, _moment_back(datetime.datetime)),
    _Kind(11, datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    _Kind(12, datetime.time, _moment_form, _moment_back(datetime.time)),
    _Kind(
        13,
        datetime.timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda form: datetime.timedelta(*form),
    ),
)
_BY_TYPE = {row.type: row for row in _KINDS}
_BY_TYPE[package] = _BY_TYPE[tuple]  # what a parallel returns is a tuple to everyone else
_BY_CODE = {row.code: row for row in _KINDS}
