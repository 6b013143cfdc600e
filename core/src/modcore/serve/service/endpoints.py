"""``POST /call`` and ``POST /stream``: from a request to the module and back."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

import modcore.flow.batch
from modcore.module import ModuleBase, time_left
from modcore.serve.service import calls, http
from modcore.serve.service.blocking import Blocking
from modcore.serve.service.http import Headers, Refused
from modcore.serve.service.sizes import aside_if_large
from modcore.wire import JSON, describe, encode
from modcore.wire.errors import traceback_of

_log = logging.getLogger(__name__)

#: Where the frames come from that every call goes through.
_PLUMBING = (
    str(Path(__file__).parent),
    inspect.getfile(ModuleBase),
    inspect.getfile(modcore.flow.batch),
    *(str(Path(inspect.getfile(part)).parent) for part in (asyncio, concurrent.futures, uvicorn)),
)

#: How a call counts that ends in a refusal of this status.
_OUTCOMES = {503: "stopped", 504: "deadline"}

Answer = Callable[[Headers, Receive, Send, Blocking], Awaitable[str]]


class Endpoints:
    """Answers calls with `runner`; with `tells_tracebacks`, callers who ask get whole errors."""

    def __init__(self, runner: calls.Runner, *, tells_tracebacks: bool) -> None:
        self._runner, self._state = runner, runner.state
        self._tells_tracebacks = tells_tracebacks

    async def call(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """One result; the pieces of a generator are gathered into a list."""
        await self._counted("call", self._call, headers, receive, send)

    async def stream(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Server-sent events: each a ``piece``, the last one ``done`` or ``error``."""
        await self._counted("stream", self._stream, headers, receive, send)

    @contextmanager
    def placed(self) -> Iterator[None]:
        """A place among the calls in flight, for what is no call of the module; raises Refused."""
        self._state.admit()
        try:
            yield
        finally:
            self._state.release()

    async def _counted(
        self, kind: str, answer: Answer, headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Take a place among the calls in flight, until nothing of the call runs any more."""
        time_left.allow(http.seconds_left(headers))
        self._state.admit()
        blocking = Blocking(self._state.release)
        started = time.perf_counter()
        outcome = "gone"
        try:
            outcome = await answer(headers, receive, send, blocking)
        except Refused as refused:
            outcome = _OUTCOMES.get(refused.status, "refused")
            raise
        finally:
            blocking.over()
            self._state.count(kind, outcome, time.perf_counter() - started)

    async def _call(
        self, headers: Headers, receive: Receive, send: Send, blocking: Blocking
    ) -> str:
        seconds = http.seconds_left(headers)
        arguments = await self._runner.arguments(headers, await http.read_body(headers, receive))
        json_only = not http.takes_msgpack(headers)
        outcome, status = "ok", 200
        with self._runner.watched(receive, seconds):
            try:
                result = await self._runner.result(arguments, blocking)
                if calls.is_stream(result):
                    result = await calls.gathered(result, blocking)
                write = functools.partial(encode, json_only=json_only)
                kind, body = await aside_if_large(write, {"result": result})
            except BaseException as error:
                if calls.is_ours(error):
                    raise
                outcome, status = "error", 500
                kind, body = encode({"error": self._described(error, headers)})
        await http.answer(send, status, kind.encode(), body)
        return outcome

    async def _stream(
        self, headers: Headers, receive: Receive, send: Send, blocking: Blocking
    ) -> str:
        seconds = http.seconds_left(headers)
        arguments = await self._runner.arguments(headers, await http.read_body(headers, receive))
        json_only = not http.takes_msgpack(headers)
        await _begin_events(send)
        outcome, last = "ok", _event({"done": True})
        try:
            with self._runner.watched(receive, seconds):
                try:
                    await self._send_pieces(arguments, blocking, send, json_only)
                except BaseException as error:
                    if calls.is_ours(error):
                        raise
                    outcome, last = "error", _event({"error": self._described(error, headers)})
        except Refused as refused:
            outcome, last = _OUTCOMES[refused.status], _event({"error": refused.error})
        await send({"type": "http.response.body", "body": last})
        return outcome

    async def _send_pieces(
        self, arguments: calls.Arguments, blocking: Blocking, send: Send, json_only: bool
    ) -> None:
        result = await self._runner.result(arguments, blocking)
        write = functools.partial(_piece_event, json_only=json_only)
        if not calls.is_stream(result):
            await _send_event(send, await aside_if_large(write, result))
            return
        pieces = calls.pieces_of(result, blocking)
        try:
            async for piece in pieces:
                await _send_event(send, await aside_if_large(write, piece))
        finally:
            await calls.leave(pieces)

    def _described(self, error: BaseException, headers: Headers) -> dict[str, Any]:
        if self._tells_tracebacks and headers.get(b"x-modcore-detail") == b"1":
            return describe(error, lambda raised: traceback_of(raised, _PLUMBING))
        # Its caller learns type and message only, so the log has to know where it was.
        _log.error("the module failed:\n%s", traceback_of(error, _PLUMBING).rstrip())
        return describe(error)


async def _begin_events(send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _send_event(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})


def _piece_event(piece: Any, json_only: bool) -> bytes:
    kind, body = encode(piece, json_only=json_only)
    if kind == JSON:
        return b'data: {"piece":' + body + b"}\n\n"
    return b'data: {"msgpack":"' + base64.b64encode(body) + b'"}\n\n'


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + encode(data, json_only=True)[1] + b"\n\n"
