"""What an answer has to look like, in the words of each caller: OpenAI's, vLLM's and our own.

Sources: *Structured outputs* in the OpenAI API reference and in vLLM's documentation (``structured_outputs``; before
vLLM 0.12 ``guided_json`` and ``guided_regex``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from modcore.errors import InvalidRequest

#: The schema of any JSON object.
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}

_META = re.compile(r"[][\\.+*?()|{}^$#&~-]")  # of Rust's expressions


class Format(NamedTuple):
    """A constraint as `SamplingParams` takes it: the name of its parameter, the value; `field` brought it."""

    param: str
    value: Any
    field: str


def read_format(fields: Mapping[str, Any]) -> Format | None:
    """The format that `fields`, those of a body, ask for; None: any text.

    Raises InvalidRequest, which names the field, for one that is not served, or for more than one.
    """
    formats = [
        found
        for name, read in _READERS.items()
        if (value := fields.get(name)) is not None and (found := read(name, value))
    ]
    if len(formats) > 1:
        first, second = formats[0].field, formats[1].field
        _refuse(second, f"comes with {first}; an answer can follow one of them only.")
    return formats[0] if formats else None


def _schema(name: str, value: Any) -> Format:
    return Format("json_schema", value, name)


def _regex(name: str, value: Any) -> Format:
    return Format("regex", value, name)


def _response_format(name: str, value: Any) -> Format | None:
    kind = _need(Mapping, name, value, "an object").get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format("json_schema", ANY_OBJECT, name)
    if kind != "json_schema":
        _refuse(name, "has to be of the type text, json_object or json_schema.")
    described = _need(Mapping, name, value.get("json_schema"), "an object with a json_schema")
    schema = _need(Mapping, name, described.get("schema"), "an object with json_schema.schema")
    # An answer follows its schema whether it is strict or not.
    if not isinstance(described.get("strict"), (bool, type(None))):
        _refuse(name, "has a json_schema.strict that is neither true nor false.")
    return Format("json_schema", schema, name)


def _structured_outputs(name: str, value: Any) -> Format | None:
    items = _need(Mapping, name, value, "an object").items()
    given = {key: item for key, item in items if item is not None and item is not False}
    if not given:
        return None
    (key, item), *others = given.items()
    if others or key not in ("json", "regex", "choice", "json_object"):
        _refuse(name, "has to hold one of json, regex, choice and json_object.")
    if key == "json_object":
        return Format("json_schema", ANY_OBJECT, name)
    if key == "choice":
        return Format("regex", _any_of(name, item), name)
    return Format("json_schema" if key == "json" else "regex", item, name)


def _any_of(name: str, choices: Any) -> str:
    """An expression that only `choices` match."""
    if not _need(list, name, choices, "a list of choices"):
        _refuse(name, "has no choice; give at least one.")
    if not all(isinstance(each, str) for each in choices):
        _refuse(name, "has a choice that is no string.")
    return "|".join(f"(?:{_META.sub(_escape, each)})" for each in choices)


def _escape(sign: re.Match[str]) -> str:
    return f"\\{sign[0]}"


def _need(kind: type[Any], name: str, value: Any, wanted: str) -> Any:
    if not isinstance(value, kind):
        _refuse(name, f"has to be {wanted}.")
    return value


def _refuse(name: str, problem: str) -> NoReturn:
    raise InvalidRequest(f"{name} {problem}", param=name)


_READERS = {
    "response_format": _response_format,
    "structured_outputs": _structured_outputs,
    "guided_json": _schema,
    "guided_regex": _regex,
    "json_schema": _schema,
    "regex": _regex,
}
