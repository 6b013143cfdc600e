"""What an answer has to look like, in everybody's words."""

from __future__ import annotations

from typing import Any

import pytest

from modcore.errors import InvalidRequest
from modcore.serve.formats import ANY_OBJECT, Format, read_format

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"response_format": None, "regex": None}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"structured_outputs": {}}, None),
        ({"structured_outputs": {"json": None}}, None),
        ({"response_format": {"type": "json_object"}}, ("json_schema", ANY_OBJECT)),
        ({"structured_outputs": {"json_object": True}}, ("json_schema", ANY_OBJECT)),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
                }
            },
            ("json_schema", SCHEMA),
        ),
        ({"structured_outputs": {"json": SCHEMA}}, ("json_schema", SCHEMA)),
        ({"guided_json": SCHEMA}, ("json_schema", SCHEMA)),
        ({"json_schema": SCHEMA}, ("json_schema", SCHEMA)),
        ({"structured_outputs": {"regex": "a+"}}, ("regex", "a+")),
        ({"guided_regex": "a+"}, ("regex", "a+")),
        ({"regex": "a+"}, ("regex", "a+")),
        ({"structured_outputs": {"choice": ["yes", "a|b"]}}, ("regex", r"(?:yes)|(?:a\|b)")),
        ({"response_format": {"type": "text"}, "regex": "a"}, ("regex", "a")),
    ],
)
def test_every_spelling_is_one_of_the_engine_s_parameters(
    fields: dict[str, Any], expected: tuple[str, Any] | None
) -> None:
    found = read_format(fields)
    assert (found and found[:2]) == expected
    assert found is None or isinstance(found, Format)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": ["json_object"]}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {}, "strict": 1},
                }
            },
            "response_format",
        ),
        ({"structured_outputs": ["json"]}, "structured_outputs"),
        ({"structured_outputs": {"grammar": "root ::= a"}}, "structured_outputs"),
        ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"choice": "yes"}}, "structured_outputs"),
        ({"structured_outputs": {"choice": [1]}}, "structured_outputs"),
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
    ],
)
def test_what_is_not_served_is_refused_by_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_format(fields)
    assert caught.value.param == param
    assert str(caught.value).startswith(param)
