"""Which grammars may take longer to compile than their size tells."""

from __future__ import annotations

import json
from typing import Any

#: Keywords whose expressions multiply, or that compare everything with everything.
_MULTIPLYING = frozenset(
    ("pattern", "patternProperties", "multipleOf", "allOf", "oneOf", "x-guidance")
)
#: Keywords that are merged with what stands beside them, branch by branch.
_MERGED = frozenset(("anyOf", "$ref"))
#: What may stand beside those without being merged.
_NOTES = frozenset(
    (
        "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description",
        "examples", "readOnly", "title", "writeOnly",
    )
)  # fmt: skip
_MANY_KEYS = 400  # llguidance follows some 500 optional ones of an object at most
_SHORT_REGEX = 64  # characters


def is_suspicious(name: str, text: str) -> bool:
    """Whether compiling `text` for the parameter `name` may take more than the compiler's own bounds allow.

    What it lets pass takes time that grows with its size: at most some hundred milliseconds for the
    largest JSON schema that is read.
    """
    if name == "regex":
        # A brace may count, also where blanks and comments follow it, as in (?x)a{ 900}.
        return len(text) > _SHORT_REGEX or "{" in text
    return any(_multiplies(node) for node in _objects(json.loads(text)))


def _objects(root: Any) -> list[dict[str, Any]]:
    """All objects in `root`, also those that are no schemas: a trial too many does no harm."""
    found: list[dict[str, Any]] = []
    level = [root]
    while level:
        objects = [node for node in level if isinstance(node, dict)]
        found += objects
        lists = [node for node in level if isinstance(node, list)]
        level = [child for node in objects for child in node.values()]
        level += [child for node in lists for child in node]
    return found


def _multiplies(node: dict[str, Any]) -> bool:
    keys = node.keys()
    merged = keys & _MERGED
    if len(keys) > _MANY_KEYS or keys & _MULTIPLYING:
        return True
    return bool(merged and (keys - _NOTES - merged or len(merged) > 1))
