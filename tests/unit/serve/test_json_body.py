"""Reading bodies: strict, and bounded before it is expensive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.errors import InvalidRequest
from modcore.serve.json_body import MAX_CONTAINERS, MAX_FIELD, MAX_FIELDS, parse_object

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=5), st.sampled_from([None, 1]))
def test_objects_are_read_as_json_reads_them(fields: dict[str, Any], indent: int | None) -> None:
    for escaped in (True, False):
        text = json.dumps(fields, indent=indent, ensure_ascii=escaped)
        body = text.encode("utf-8", "surrogatepass")
        assert parse_object(body) == json.loads(text)


@given(st.binary(max_size=60))
def test_bytes_are_an_object_or_refused(noise: bytes) -> None:
    for body in (noise, b"{" + noise, b'{"prompt": ' + noise, b'{"a": 1' + noise):
        try:
            assert isinstance(parse_object(body), dict)
        except InvalidRequest as error:
            assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (b"", None, "JSON object"),
        (b"[]", None, "JSON object"),
        (b"null", None, "JSON object"),
        (b'{"a": 1', None, "at 7"),
        (b'{"a": 1} 2', None, "at 9"),
        (b'{"a": 1,}', None, "at 8"),
        (b'{"a" 1}', None, "at 5"),
        (b"{a: 1}", None, "at 1"),
        (b'{"a": nonsense}', None, "at 6"),
        (b'{"a": "\xff"}', None, "byte 7"),
        (b'\xef\xbb\xbf{"a": 1}', None, "JSON object"),
        (b'{"a": 1, "a": 1}', "a", "twice"),
        (b'{"a": [{"b": 1, "b": 1}]}', "a", "'b' twice"),
        (b'{"a": NaN}', "a", "NaN"),
        (b'{"a": [-Infinity]}', "a", "Infinity"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a", "digits"),
        (b'{"a": ' * 50_000, "a", "nested"),
        (b'{"prompt": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "prompt", "nested"),
    ],
)
def test_what_is_no_strict_json_is_refused_with_its_place(
    body: bytes, param: str | None, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_object(body)
    assert caught.value.param == param


def test_long_field_is_refused_unless_it_is_a_prompt() -> None:
    text = "a" * (MAX_FIELD + 1)
    assert parse_object(json.dumps({"prompt": text, "messages": text}).encode())["prompt"] == text
    with pytest.raises(InvalidRequest, match="longer") as caught:
        parse_object(json.dumps({"stop": text, "prompt": text}).encode())
    assert caught.value.param == "stop"


def test_number_that_the_bound_would_cut_is_refused_and_not_shortened() -> None:
    with pytest.raises(InvalidRequest, match="longer"):
        parse_object(b'{"min_p": 0.' + b"0" * MAX_FIELD + b'1, "prompt": "a"}')


def test_fields_and_containers_are_counted_but_not_brackets_in_strings() -> None:
    with pytest.raises(InvalidRequest, match="fields"):
        parse_object(json.dumps({str(i): i for i in range(MAX_FIELDS + 1)}).encode())
    with pytest.raises(InvalidRequest, match="objects and lists"):
        parse_object(json.dumps({"messages": [{}] * (MAX_CONTAINERS + 1)}).encode())
    text = '\\"{[' * MAX_CONTAINERS
    assert parse_object(json.dumps({"prompt": text}).encode()) == {"prompt": text}
