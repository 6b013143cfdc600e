"""The body of a request as JSON: read strictly, and no longer than it takes to see that it is wrong.

Every field but the prompt and the messages is bounded in length, so a list of a million entries costs no more
than its first part. Knows nothing of what the fields mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from modcore.errors import InvalidRequest
from modcore.serve.caller_gone import CallerGone

MAX_FIELD = 256 * 1024  # characters of a field's JSON
MAX_FIELDS = 100
MAX_CONTAINERS = 100_000  # objects and lists in the whole body
MAX_NAME = 64  # characters
#: What may be as long as the body itself.
UNBOUNDED = frozenset({"prompt", "messages"})

_BLANK = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class JsonRoute(APIRoute):
    """A route whose body is JSON as `parse_object` reads it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the body parsed before it."""
        handle = super().get_route_handler()

        async def handle_parsed(request: Request) -> Response:
            _verify_content_type(request)
            try:
                body = await request.body()
            except ClientDisconnect:
                raise CallerGone from None
            return await handle(_Parsed(request, parse_object(body)))

        return handle_parsed


class _Parsed(Request):
    """A request whose body has been read."""

    def __init__(self, request: Request, fields: dict[str, Any]) -> None:
        super().__init__(request.scope, request.receive)
        self._body = b"{}"  # FastAPI looks only whether there is one
        self._fields = fields

    async def json(self) -> Any:
        """The fields."""
        return self._fields


def _verify_content_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise HTTPException(
            415, "The body has to be a JSON object sent with the content type application/json."
        )


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, UTF-8; raises InvalidRequest for anything else.

    Refused too, each by name: a key that comes twice in an object, NaN and infinities (RFC 8259 knows
    none), and what passes the bounds above.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"The body is not UTF-8 (at byte {error.start}); encode it as that."
        ) from None
    _verify_containers(text)
    place = _skip(text, 0)
    if not text.startswith("{", place):
        raise InvalidRequest("The body has to be a JSON object.")
    fields: dict[str, Any] = {}
    place = _skip(text, place + 1)
    if text.startswith("}", place):
        _verify_end(text, place)
        return fields
    while True:
        place = _read_field(text, place, fields)
        if text.startswith("}", place):
            _verify_end(text, place)
            return fields
        place = _expect(",", text, place)


def _read_field(text: str, place: int, fields: dict[str, Any]) -> int:
    """Add the field at `place` to `fields`; returns where the next sign is."""
    if not text.startswith('"', place):
        _refuse("Expecting a field's name in double quotes", place)
    # What a name may be as long as, with every character written as an escape.
    name, place = _decode(text, place, 6 * MAX_NAME + 2, "a field's name")
    name = name[:MAX_NAME]
    if name in fields:
        raise InvalidRequest(f"{name!r} comes twice in the body; send it once.", param=name)
    if len(fields) == MAX_FIELDS:
        raise InvalidRequest(f"The body has more than {MAX_FIELDS} fields; send fewer.")
    place = _expect(":", text, place)
    most = len(text) if name in UNBOUNDED else MAX_FIELD
    fields[name], place = _decode(text, place, most, name)
    return _skip(text, place)


def _decode(text: str, place: int, most: int, name: str) -> tuple[Any, int]:
    """The JSON value at `place` and where it ends; `name` is the field's that is being read."""
    part, start = (text, place) if place + most >= len(text) else (text[place : place + most], 0)
    param = None if " " in name else name
    try:
        value, end = _DECODER.raw_decode(part, start)
        if part is text or end < len(part):
            return value, place - start + end
    except json.JSONDecodeError as error:
        if part is text:
            _refuse(error.msg, error.pos)
    except RecursionError:
        raise InvalidRequest(
            f"{name} is nested too deeply; make it flatter.", param=param
        ) from None
    except _NotJson as error:
        raise InvalidRequest(f"{name} holds {error}.", param=param) from None
    except ValueError:  # Python's, which reads numbers of 4300 digits
        raise InvalidRequest(f"{name} holds a number of too many digits.", param=param) from None
    raise InvalidRequest(
        f"{name} is longer than {most} characters of JSON, or not closed; make it shorter.",
        param=param,
    )


def _verify_containers(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_CONTAINERS:
        return
    bare = _STRING.sub("", text)
    if bare.count("{") + bare.count("[") > MAX_CONTAINERS:
        raise InvalidRequest(
            f"The body has more than {MAX_CONTAINERS} objects and lists; send less at once."
        )


def _expect(sign: str, text: str, place: int) -> int:
    """Where the sign behind `sign` is."""
    place = _skip(text, place)
    if not text.startswith(sign, place):
        _refuse(f"Expecting {sign!r}", place)
    return _skip(text, place + 1)


def _verify_end(text: str, place: int) -> None:
    end = _skip(text, place + 1)
    if end != len(text):
        _refuse("There is more behind the object", end)


def _skip(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return blank.end() if blank else place


def _refuse(reason: str, place: int) -> NoReturn:
    raise InvalidRequest(f"The body is not valid JSON: {reason} (at {place}).")


class _NotJson(ValueError):
    """What Python's reader takes for JSON, and is none."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _NotJson(f"the key {name[:MAX_NAME]!r} twice; send it once")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJson(f"{name}, which JSON does not have")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
