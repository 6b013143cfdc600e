"""One module behind HTTP: ``POST /call`` and ``POST /stream``, errors with their type.

The caller's side is `modcore.module.remote`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import starlette
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import iterate_in_threadpool

import modcore.flow.batch
from modcore._version import VERSION
from modcore.module import ModuleBase
from modcore.serve.errors import install_error_handlers
from modcore.serve.guard import Guard
from modcore.wire import encode

#: Where the frames come from that every call goes through.
_PLUMBING = (
    __file__,
    inspect.getfile(ModuleBase),
    inspect.getfile(modcore.flow.batch),
    *(
        str(Path(inspect.getfile(part)).parent)
        for part in (anyio, asyncio, concurrent.futures, starlette)
    ),
)

MAX_CALLS = 128  # that block a thread at the same time


class CallBody(BaseModel):
    """The arguments of a call."""

    model_config = ConfigDict(extra="forbid")

    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)


def create_module_app(module: ModuleBase, token: str | None) -> FastAPI:
    """The ASGI application that calls `module`; every path but ``/health`` asks for `token`."""
    app = FastAPI(title="modcore module", version=VERSION, docs_url=None, redoc_url=None)
    app.state.module = module
    app.add_api_route("/health", health)
    app.add_api_route("/call", call, methods=["POST"], response_model=None)
    app.add_api_route("/stream", stream, methods=["POST"], response_model=None)
    install_error_handlers(app)
    app.add_middleware(Guard, api_key=token, max_body_bytes=64 * 1024 * 1024)
    return app


async def health() -> dict[str, str]:
    """Whether the service can answer."""
    return {"status": "ok"}


async def call(body: CallBody, request: Request) -> Response:
    """Call the module; pieces of a generator are gathered into a list."""
    _widen(request.app)
    try:
        result = await request.app.state.module.acall(*body.args, **body.kwargs)
        if _is_stream(result):
            result = [piece async for piece in _pieces(result)]
        return Response(encoded({"result": result}), media_type="application/json")
    except (Exception, SystemExit) as error:
        return JSONResponse({"error": describe(error)}, 500)


async def stream(body: CallBody, request: Request) -> StreamingResponse:
    """Call the module; each piece is a server-sent event, the last one says ``done`` or ``error``."""
    module = request.app.state.module
    _widen(request.app)

    async def events() -> AsyncIterator[bytes]:
        try:
            result = await module.acall(*body.args, **body.kwargs)
            async for piece in _pieces(result if _is_stream(result) else iter([result])):
                yield _event({"piece": piece})
            yield _event({"done": True})
        except (Exception, SystemExit) as error:
            yield _event({"error": describe(error)})

    return StreamingResponse(events(), media_type="text/event-stream")


def _widen(app: FastAPI) -> None:
    """Let as many calls that block run at once as a busy service needs; asyncio's default is a few."""
    if not getattr(app.state, "is_wide", False):
        app.state.is_wide = True
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_CALLS))


def describe(error: BaseException) -> dict[str, Any]:
    """An error as it travels, the members of a group in it; the traceback is for who holds the token."""
    described = {
        "type": type(error).__qualname__,
        "module": type(error).__module__,
        "message": _message(error),
        "traceback": _traceback(error),
    }
    if isinstance(error, BaseExceptionGroup):
        return {**described, "exceptions": [describe(member) for member in error.exceptions]}
    return described


def _traceback(error: BaseException) -> str:
    """The traceback from where the module was called: how the call got there helps nobody."""
    told = traceback.TracebackException.from_exception(error)
    own = [frame for frame in told.stack if not frame.filename.startswith(_PLUMBING)]
    told.stack = traceback.StackSummary.from_list(own or told.stack)
    return "".join(told.format())


def _message(error: BaseException) -> str:
    """What the error's class is to be made of again."""
    if isinstance(error, BaseExceptionGroup):
        return error.message
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _is_stream(result: object) -> bool:
    return inspect.isasyncgen(result) or isinstance(result, Iterator)


def _pieces(result: Any) -> AsyncIterator[Any]:
    return result if inspect.isasyncgen(result) else iterate_in_threadpool(result)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + encoded(data) + b"\n\n"


def encoded(value: dict[str, Any]) -> bytes:
    """`value` as JSON."""
    return encode(value, json_only=True)[1]
