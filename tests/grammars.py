"""JSON schemas that people write, that nobody can follow, and that never end to compile."""

from __future__ import annotations

from typing import Any

MAIL = r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
ADDRESS = rf"^({BYTE}\.){{3}}{BYTE}$"
MOMENT = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$"
)
VERSION = (
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$"
)
FORMATS = ("date", "date-time", "time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname")

Schema = dict[str, Any]


def text(pattern: str, **more: Any) -> Schema:
    return {"type": "string", "pattern": pattern, **more}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}], "default": None}


def record(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


PATTERNS = [MAIL, UUID, ADDRESS, MOMENT, VERSION]

HONEST: dict[str, Schema] = {
    "price": {"type": "number", "multipleOf": 0.01},
    "item": record(
        {
            "price": {"type": "number", "minimum": 0, "multipleOf": 0.01},
            "count": {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 1000},
            "seconds": {"type": "integer", "multipleOf": 60},
        }
    ),
    "20 patterns": record({f"p{i}": text(PATTERNS[i % 5]) for i in range(20)}),
    "20 that may be null": record({f"p{i}": nullable(text(PATTERNS[i % 5])) for i in range(20)}),
    "date or quarter": {"anyOf": [{"type": "string", "format": "date"}, text(r"^Q[1-4] \d{4}$")]},
    "formats": {
        "type": "object",
        "properties": {each: {"type": "string", "format": each} for each in FORMATS},
        "anyOf": [{"required": ["uri"]}, {"required": ["uuid"]}],
    },
    "password": {
        "type": "string",
        "allOf": [{"pattern": each} for each in ("[a-z]", "[A-Z]", "[0-9]")],
    },
    "union": {
        "oneOf": [
            record({"kind": {"const": kind}, "value": text(pattern)})
            | {"additionalProperties": False}
            for kind, pattern in zip("abcde", PATTERNS, strict=True)
        ]
    },
    "tree": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "id": text(UUID),
                    "mail": nullable({"type": "string", "format": "email"}),
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["id"],
            }
        },
        "$ref": "#/$defs/node",
    },
}

UNSATISFIABLE: dict[str, Schema] = {
    "itself": {"$ref": "#"},
    "each other": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "no character": text("[^\\x00-\\U0010FFFF]"),
    "no value": {"enum": []},
    "no branch": {"anyOf": []},
    "two types": {"allOf": [{"type": "string"}, {"type": "number"}]},
    "3 to 1": {"type": "integer", "minimum": 3, "maximum": 1},
    "between 1 and 2": {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
    "too long": text("^a{5}$", maxLength=3),
    "two patterns": {"type": "string", "allOf": [{"pattern": "^a+$"}, {"pattern": "^b+$"}]},
    "tens below nine": {"type": "integer", "multipleOf": 10, "minimum": 1, "maximum": 9},
    "constant of another type": {"type": "string", "const": 3},
    "required, but impossible": record({"a": {"enum": []}}),
}

EXPLOSIVE: dict[str, Schema] = {
    "a large prime": {"type": "integer", "multipleOf": 1_000_003},
    "two primes": {"type": "integer", "allOf": [{"multipleOf": 997}, {"multipleOf": 991}]},
    "20 patterns for a value": {
        "type": "string",
        "allOf": [{"pattern": f".*{chr(97 + i)}.*{i}"} for i in range(20)],
    },
    "500 patterns for keys": {
        "type": "object",
        "patternProperties": {f"^k{i}[a-z]*$": {} for i in range(500)},
    },
    "a pattern of 60,000": text("^" + "a?" * 30_000 + "$"),
    "branches times properties": {
        "type": "object",
        "properties": {f"p{i}": {} for i in range(400)},
        "anyOf": [{} for _ in range(400)],
    },
    "definitions that double": {
        "$ref": "#/$defs/d0",
        "$defs": {
            f"d{i}": {
                "type": "object",
                "properties": {
                    key: {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"required": [f"{key}{i}"]}]}
                    for key in "ab"
                },
            }
            for i in range(60)
        }
        | {"d60": {"type": "object"}},
    },
}

EXPLOSIVE_REGEX = {
    "900 times 900 times 900": "((a{900}){900}){900}",
    "900 times, behind blanks": "(?x)((a{ 900}){ 900}){ 900}",
    "many .*": ".*" * 2000 + "a",
    "many letters or not": r"(\p{L}?x?)" * 350,
}
