"""A JSON schema as text, checked for what would make reading or compiling it expensive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modcore.engine.sampling.checks import refuse, shown

MAX_SCHEMA = 64 * 1024  # characters of JSON
MAX_NODES = 4096  # objects, lists, keys and values
MAX_DEPTH = 64  # of nesting

_NAME = "json_schema"


def schema_text(schema: object) -> str:
    """`schema`, an object or JSON text of one, as JSON text; the order of its keys is kept.

    Raises InvalidRequest when it is no JSON object, or larger or deeper than is served. The time
    does not grow with what is beyond these bounds.
    """
    if isinstance(schema, str):
        schema = _read(schema)
    if not isinstance(schema, Mapping):
        refuse(_NAME, f"is {shown(schema)}; it has to be an object, or the JSON text of one.")
    _verify(schema)
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        refuse(_NAME, f"is no JSON: {error}.")


def _read(text: str) -> Any:
    if len(text) > MAX_SCHEMA:
        refuse(_NAME, f"has {len(text)} characters; {MAX_SCHEMA} are the most.")
    try:
        return json.loads(text)
    except RecursionError:
        refuse(_NAME, f"is nested deeper than {MAX_DEPTH} levels; make it flatter.")
    except ValueError as error:
        refuse(_NAME, f"is no JSON: {error}.")


def _verify(schema: Mapping[str, Any]) -> None:
    """Walk level by level, and stop as soon as a bound is passed."""
    nodes, size = 0, 0
    level: list[Any] = [schema]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for node in level:
            nodes += 1 + (len(node) if isinstance(node, (Mapping, list, tuple)) else 0)
            size += len(node) if isinstance(node, str) else 0
            if nodes > MAX_NODES or size > MAX_SCHEMA:
                refuse(
                    _NAME,
                    f"has more than {MAX_NODES} keys and values, or {MAX_SCHEMA} characters; "
                    "make it smaller.",
                )
            below.extend(_children(node))
        level = below
    if level:
        refuse(_NAME, f"is nested deeper than {MAX_DEPTH} levels; make it flatter.")


def _children(node: Any) -> list[Any]:
    if isinstance(node, Mapping):
        return [*node.keys(), *node.values()]
    return list(node) if isinstance(node, (list, tuple)) else []
