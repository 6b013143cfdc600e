"""Which grammars are tried before they are compiled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modcore.engine.sampling.suspicion import is_suspicious


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a"},
        {"type": "number", "multipleOf": 0.01},
        {"properties": {"a": {"items": [{"allOf": [{}]}]}}},
        {"oneOf": [{"const": 1}, {"const": 2}]},
        {"patternProperties": {"a": {}}},
        {"type": "object", "anyOf": [{"required": ["a"]}]},
        {"$ref": "#/$defs/a", "type": "object"},
        {"$ref": "#/$defs/a", "anyOf": [{}]},
        {"x-guidance": {"item_separator": "(a|b)*"}},
        {"type": "object", "properties": {f"p{i}": {} for i in range(500)}},
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_what_multiplies_is_suspicious(schema: Any) -> None:
    assert is_suspicious("json_schema", json.dumps(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}}},
        {"properties": {"a": {"anyOf": [{"type": "null"}, {"format": "date"}], "default": None}}},
        {"$defs": {"a": {"type": "integer"}}, "$ref": "#/$defs/a", "title": "A"},
        {"enum": ["pattern", "multipleOf"]},
        {"type": "integer", "minimum": 3, "maximum": 1},
    ],
    ids=str,
)
def test_what_only_adds_up_is_not(schema: Any) -> None:
    assert not is_suspicious("json_schema", json.dumps(schema))


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        ("(yes|no)", False),
        ("a{9}", True),
        ("(?x)a{ 9}", True),
        ("(?x)a{#\n9}", True),
        ("(a|b)" * 20, True),
    ],
)
def test_expressions_that_count_or_are_long_are_suspicious(regex: str, expected: bool) -> None:
    assert is_suspicious("regex", regex) is expected
