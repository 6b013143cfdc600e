"""Values arrive as themselves, or are refused with a sentence."""

from __future__ import annotations

import datetime
import enum
import json
import math
import subprocess
import sys
import zoneinfo
from collections import OrderedDict, namedtuple
from decimal import Decimal
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modcore.wire import JSON, MSGPACK, CannotTravel, bounds, decode, encode

#: Python's own texts include lone surrogates, which are refused.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.times(timezones=st.just(datetime.timezone(datetime.timedelta(hours=-3))))
    | st.timedeltas()
)
VALUES = st.recursive(
    HASHABLE | st.binary().map(bytearray) | st.sets(HASHABLE) | st.frozensets(HASHABLE),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(TEXTS, inner)
        | st.dictionaries(HASHABLE | st.tuples(HASHABLE, HASHABLE), inner)
    ),
    max_leaves=20,
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


def travelled(value: Any) -> Any:
    return decode(*encode(value))


def are_same(one: Any, other: Any) -> bool:
    """Equal, and of equal types all the way down; what Python takes for equal is told apart by its text."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(are_same, one, other))
    if isinstance(one, dict):
        return are_same(list(one.items()), list(other.items()))
    if isinstance(one, (set, frozenset)):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return repr(one) == repr(other)


@given(VALUES)
def test_value_arrives_as_itself(value: Any) -> None:
    assert are_same(travelled(value), value)


@given(PLAIN)
def test_json_is_used_when_it_can_hold_the_value_and_is_what_anyone_reads(value: Any) -> None:
    kind, body = encode(value)
    assert kind == JSON
    assert are_same(json.loads(body), value)


@given(arrays.arrays(
    st.sampled_from(["f2", "f4", "f8", "c8", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]),
    arrays.array_shapes(min_dims=0, min_side=0, max_side=4),
))  # fmt: skip
def test_array_arrives_with_its_type_shape_and_bytes(array: Any) -> None:
    for given_one in (array, array.T, array[::2] if array.ndim else array):
        [arrived] = travelled([given_one])
        assert (arrived.dtype, arrived.shape) == (given_one.dtype, given_one.shape)
        assert arrived.tobytes() == given_one.tobytes()
        assert arrived.flags.writeable


@pytest.mark.parametrize(
    "name", ["bfloat16", "float16", "float32", "int64", "bool", "complex64", "float8_e4m3fn"]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensor_arrives_with_its_type_shape_and_bytes(name: str, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(math.prod(shape)).reshape(shape).to(getattr(torch, name))
    for given_one in (tensor, tensor.T if shape else tensor):
        arrived = travelled({"x": given_one})["x"]
        assert (arrived.dtype, arrived.shape) == (given_one.dtype, given_one.shape)
        assert arrived.tolist() == given_one.tolist()


def test_not_a_number_and_infinities_arrive_by_msgpack() -> None:
    assert encode(math.nan)[0] == encode(math.inf)[0] == MSGPACK
    assert math.isnan(travelled([math.nan])[0])
    assert travelled([math.inf, -math.inf]) == [math.inf, -math.inf]


def test_numpy_scalar_arrives_as_one_and_not_as_a_float() -> None:
    arrived = travelled(numpy.float64(1.5))
    assert (type(arrived), arrived) == (numpy.float64, 1.5)


def test_tensor_of_a_graph_arrives_as_its_values() -> None:
    graph = torch.ones(2, requires_grad=True) * 2
    assert travelled(graph).tolist() == [2.0, 2.0]


class Colour(enum.IntEnum):
    RED = 1


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("half \ud800", "lone surrogate"),
        (b"".join, "builtin_function_or_method has no form"),
        (Colour.RED, "a Colour would arrive as an int"),
        (Pair(1, 2), "a Pair would arrive as a tuple"),
        (OrderedDict(a=1), "an OrderedDict would arrive as a dict"),
        (type("Text", (str,), {})("x"), "would arrive as a str"),
        (range(3), "range has no form"),
        (1 << 20_000, "14000 bits"),
        (datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")), "time zone"),
        (datetime.time(tzinfo=datetime.timezone(datetime.timedelta(hours=1), "Home")), "time zone"),
        (numpy.array(["a"]), "dtype <U1"),
        (numpy.zeros(1, dtype=">f8"), "dtype >f8"),
        (numpy.ma.array([1]), "MaskedArray would arrive as an array"),
        (torch.nn.Parameter(torch.zeros(1)), "Parameter would arrive as a tensor"),
        (torch.zeros(1).to_sparse(), "has no form"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_change_is_refused_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(CannotTravel, match=words):
        encode({"kwargs": {"x": [0, value]}})
    with pytest.raises(TypeError, match=r"at kwargs\.x\[1\]|surrogate"):
        encode({"kwargs": {"x": [0, value]}})


def test_what_holds_itself_or_lies_too_deep_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = (1,)
    for _ in range(200):
        deep = (deep,)
    for value in (ring, {"x": ring}, deep):
        with pytest.raises(CannotTravel, match="nested"):
            encode(value)


@pytest.mark.parametrize("innermost", [1, (1,)], ids=["json", "msgpack"])
def test_what_its_reader_would_refuse_as_too_deep_is_refused_where_it_is_sent(
    innermost: Any,
) -> None:
    value: Any = innermost
    for _ in range(97):
        value = {"x": value}
    assert decode(*encode([value])) == [value]
    with pytest.raises(CannotTravel, match="more than 100 deep"):
        encode([[[[[value]]]]])


@pytest.mark.parametrize("item", [1, "text", (), {"a": 1}], ids=repr)
def test_what_its_reader_would_refuse_as_too_many_is_refused_where_it_is_sent(item: Any) -> None:
    with pytest.raises(CannotTravel, match="more than 4000000 values"):
        encode([item] * (bounds.MAX_VALUES + 1))


def test_reader_of_json_alone_gets_tuples_as_lists_and_nothing_else_changed() -> None:
    assert encode({"x": (1, (2,))}, json_only=True) == (JSON, b'{"x":[1,[2]]}')
    for value in (b"x", math.nan, {1}, {1: 2}, Decimal(1)):
        with pytest.raises(CannotTravel, match="JSON has no form"):
            encode([(value,)], json_only=True)


def test_numpy_and_torch_are_imported_only_for_their_values() -> None:
    script = (
        "import sys; from modcore.wire import encode, decode;"
        "decode(*encode({'x': (1, b'2', {3: {4}})}));"
        "assert not {'numpy', 'torch', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
