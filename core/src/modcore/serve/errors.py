"""Errors as OpenAI shapes them; nothing of our inside (paths of code, tracebacks) goes out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from modcore.errors import EngineBusy, EngineClosed, InvalidRequest, ModcoreError, StepFailed
from modcore.serve.caller_gone import CallerGone
from modcore.serve.error_body import error_body

log = logging.getLogger("modcore.serve")


def error_response(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> JSONResponse:
    """The answer for an error."""
    return JSONResponse(error_body(status, message, param, code), status)


class ModelNotFound(Exception):
    """A caller named a model that is not served here."""

    def __init__(self, name: str, served: str) -> None:
        super().__init__(f"The model {name[:100]!r} is not served here; served is {served!r}.")


def public_error(error: Exception) -> tuple[int, str]:
    """The status and the sentence that a caller gets for `error`; what is ours goes to the log."""
    if isinstance(error, EngineBusy):
        return 429, str(error)
    if isinstance(error, EngineClosed):
        if error.__cause__:  # an orderly end needs no words
            log.error("the engine has ended: %s", error, exc_info=error.__cause__)
        return 503, "The server is shutting down; send the request elsewhere."
    if isinstance(error, StepFailed) and error.__cause__ is None:  # it says all there is to say
        return 500, str(error)
    # The whole story for our own faults, one line for what an operator can mend.
    log.error("request failed: %s", error, exc_info=None if type(error) is ModcoreError else error)
    return 500, "The server failed to answer; its log says why."


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of `app` in OpenAI's shape."""
    app.add_exception_handler(InvalidRequest, _invalid_request)
    app.add_exception_handler(ModelNotFound, _model_not_found)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(CallerGone, _caller_gone)
    app.add_exception_handler(ModcoreError, _unforeseen)
    app.add_exception_handler(Exception, _unforeseen)


async def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    return error_response(400, str(error), getattr(error, "param", None))


async def _model_not_found(_: Request, error: Exception) -> JSONResponse:
    return error_response(404, str(error), "model", "model_not_found")


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return error_response(400, f"The body is not valid JSON: {reason} (at {first['loc'][-1]}).")
    place = first["loc"][1:]
    if not place:
        return error_response(
            400, "The body has to be a JSON object sent with the content type application/json."
        )
    reason = first["msg"].removeprefix("Value error, ")
    return error_response(400, f"{_dotted(place)}: {reason}.", str(place[0]))


def _dotted(place: Sequence[object]) -> str:
    """``messages[0].role``; what pydantic says of union members is left out."""
    text = str(place[0])
    for part in place[1:]:
        if isinstance(part, int):
            text += f"[{part}]"
        elif str(part).isidentifier() and str(part) not in ("str", "int"):
            text += f".{part}"
    return text


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = error_response(error.status_code, _routed_nowhere(request, error))
    response.headers.update(error.headers or {})
    return response


def _routed_nowhere(request: Request, error: HTTPException) -> str:
    """What the router says in two words, as a sentence."""
    if error.status_code == 404:
        return "There is nothing at this path; see /openapi.json."
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return f"{request.method} is not what this path takes; send a {allowed}."
    return str(error.detail)


async def _caller_gone(_: Request, error: Exception) -> JSONResponse:
    del error
    return error_response(499, "The caller hung up.")  # nobody reads it


async def _unforeseen(_: Request, error: Exception) -> JSONResponse:
    status, message = public_error(error)
    return error_response(status, message)
