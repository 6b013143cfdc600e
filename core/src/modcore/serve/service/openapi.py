"""``GET /openapi.json``: what the module takes and returns, by the type hints of its `forward`."""

from __future__ import annotations

import inspect
import typing
from typing import Any

from pydantic import TypeAdapter

from modcore._version import VERSION
from modcore.serve.service.signature import Signature
from modcore.wire import JSON, MSGPACK

_REFERENCE = "#/components/schemas/{model}"


def describe_service(signature: Signature, name: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a service; a type that JSON schema cannot say is any."""
    schemas: dict[str, Any] = {"Error": _ERROR, "Call": {}}
    hints = _hints(signature.function)
    schemas["Call"] = _call(signature.signature, hints, schemas)
    result = _schema(hints.get("return", Any), schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": name or "modcore module", "version": VERSION},
        "security": [{"token": []}],
        "paths": {
            "/call": {"post": _operation("Call the module.", _object(result=result))},
            "/stream": {"post": _operation("Call it; each piece is an event.", None)},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _call(
    signature: inspect.Signature | None, hints: dict[str, Any], schemas: dict[str, Any]
) -> Any:
    if signature is None:
        return {
            "type": "object",
            "properties": {"args": {"type": "array"}, "kwargs": {"type": "object"}},
        }
    places: list[Any] = []
    names: dict[str, Any] = {}
    more_places: Any = False
    more_names: Any = False
    for each in signature.parameters.values():
        schema = _schema(hints.get(each.name, Any), schemas)
        if each.default is not each.empty:
            schema = {**schema, **_default(each.default)}
        if each.kind is each.VAR_POSITIONAL:
            more_places = schema or True
        elif each.kind is each.VAR_KEYWORD:
            more_names = schema or True
        else:
            if each.kind is not each.KEYWORD_ONLY:
                places.append({"title": each.name, **schema})
            if each.kind is not each.POSITIONAL_ONLY:
                names[each.name] = schema
    args = {"type": "array", "prefixItems": places, "items": more_places}
    kwargs = {"type": "object", "properties": names, "additionalProperties": more_names}
    call = {"args": args if places else {**args, "prefixItems": []}, "kwargs": kwargs}
    return {"type": "object", "properties": call, "additionalProperties": False}


def _operation(summary: str, result: dict[str, Any] | None) -> dict[str, Any]:
    body = {kind: {"schema": {"$ref": _REFERENCE.format(model="Call")}} for kind in (JSON, MSGPACK)}
    error = {JSON: {"schema": {"$ref": _REFERENCE.format(model="Error")}}}
    good = (
        {"text/event-stream": {"schema": {"type": "string"}}}
        if result is None
        else {kind: {"schema": result} for kind in (JSON, MSGPACK)}
    )
    codes = {400: "malformed", 401: "no token", 413: "too large", 415: "another content type"}
    codes |= {422: "does not fit", 500: "the module's error", 503: "not now", 504: "too late"}
    refusals = {str(code): {"description": text, "content": error} for code, text in codes.items()}
    answers = {"200": {"description": "The answer.", "content": good}, **refusals}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": body},
        "responses": answers,
    }


def _schema(hint: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if hint in (Any, inspect.Parameter.empty):
        return {}
    try:
        schema = TypeAdapter(hint).json_schema(ref_template=_REFERENCE)
    except Exception:  # pydantic raises many things for a type that it does not know
        return {}
    schemas.update(schema.pop("$defs", {}))
    return schema


def _hints(function: Any) -> dict[str, Any]:
    if not hasattr(function, "__annotations__"):  # an object with a __call__
        function = type(function).__dict__.get("__call__")
    try:
        return typing.get_type_hints(function)
    except Exception:  # a hint may name what is not imported
        return {}


def _default(value: Any) -> dict[str, Any]:
    return {"default": value} if type(value) in (str, int, float, bool, type(None)) else {}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_ERROR = _object(error=_object(type={"type": "string"}, message={"type": "string"}))
