"""Running the module: on the event loop where it is made for that, else in a thread."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Receive

from modcore.errors import named_kind
from modcore.flow.calls import needs_loop
from modcore.module import ActionModule, ModuleBase
from modcore.serve.call_watch import CallWatch
from modcore.serve.caller_gone import CallerGone
from modcore.serve.service.blocking import Blocking, Pieces
from modcore.serve.service.http import Headers, Refused, content_type, deadline_exceeded
from modcore.serve.service.signature import Signature
from modcore.serve.service.sizes import LARGE
from modcore.serve.service.state import ServiceState
from modcore.wire import JSON, Malformed, NeedsImport, decode

Arguments = tuple[list[Any], dict[str, Any]]


class Runner:
    """Calls `module`; belongs to one event loop."""

    def __init__(self, module: ModuleBase, state: ServiceState) -> None:
        self.module, self.state = module, state
        self.signature = Signature(module)
        self._watches: set[CallWatch] = set()
        self._is_async = _is_async(module)

    async def arguments(self, headers: Headers, body: bytes) -> Arguments:
        """The arguments in `body`; raises Refused (400, 415, 422)."""
        kind = content_type(headers)
        try:
            message = await _decoded(kind, body)
        except Malformed as error:
            raise Refused(400, "BadRequest", f"The body is no {_spoken(kind)}: {error}.") from None
        args, kwargs = _parts(message)
        self.signature.verify(args, kwargs)
        return args, kwargs

    async def result(self, arguments: Arguments, blocking: Blocking) -> Any:
        """What the module returns, a generator perhaps; raises what it raises."""
        args, kwargs = arguments
        if self._is_async:
            return await self.module.acall(*args, **kwargs)
        result = await blocking.run(functools.partial(self.module, *args, **kwargs))
        return await result if inspect.isawaitable(result) else result

    @contextmanager
    def watched(self, receive: Receive, seconds: float | None) -> Iterator[None]:
        """The call ends when its caller hangs up, after `seconds`, or with the service.

        Errors of the module pass, those of its cancelling do not: CallerGone or Refused is raised instead.
        """
        watch = CallWatch(receive, math.inf if seconds is None else seconds, deadline_exceeded)
        watch.mind_caller()
        self._watches.add(watch)
        try:
            with watch:
                yield
        finally:
            self._watches.discard(watch)

    def end(self, reason: Callable[[], Refused]) -> None:
        """End every call that runs."""
        for watch in list(self._watches):
            watch.end(reason())


def is_stream(result: object) -> bool:
    """Whether a result comes piece by piece."""
    return isinstance(result, (Iterator, AsyncIterator))


def pieces_of(result: Any, blocking: Blocking) -> Any:
    """The pieces of a result that is a stream, for asyncio."""
    return result if isinstance(result, AsyncIterator) else Pieces(result, blocking)


async def leave(pieces: Any) -> None:
    """End a stream that nobody reads any more."""
    if isinstance(pieces, Pieces):
        pieces.leave()
    elif (close := getattr(pieces, "aclose", None)) is not None:
        await close()


async def gathered(result: Any, blocking: Blocking) -> list[Any]:
    """All pieces of a stream."""
    pieces = pieces_of(result, blocking)
    try:
        if isinstance(pieces, Pieces):
            return await pieces.gather()
        return [piece async for piece in pieces]
    except BaseException:
        await leave(pieces)
        raise


def is_ours(error: BaseException) -> bool:
    """Whether `error` ends the call rather than being its outcome."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, (Refused, CallerGone, GeneratorExit))


def _is_async(module: ModuleBase) -> bool:
    """Whether the module's own async form is to be used: it has no other, or one that it wrote itself."""
    if isinstance(module, ActionModule):
        return needs_loop(module.action)
    if type(module).acall is not ModuleBase.acall:
        return True
    return inspect.iscoroutinefunction(module.forward)


async def _decoded(kind: str, body: bytes) -> Any:
    if len(body) > LARGE:
        return await asyncio.to_thread(decode, kind, body)
    try:
        return decode(kind, body, may_import=False)
    except NeedsImport:
        return await asyncio.to_thread(decode, kind, body)


def _parts(message: Any) -> Arguments:
    if type(message) is not dict:
        raise _no_call("the message", "an object with args and kwargs", message)
    args, kwargs = message.pop("args", []), message.pop("kwargs", {})
    if message:
        name = str(next(iter(message)))[:64]
        raise Refused(
            400, "BadRequest", f"A call has no {name!r}; it has args and kwargs.", argument=name
        )
    if type(args) not in (list, tuple):
        raise _no_call("args", "a list", args)
    if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
        raise _no_call("kwargs", "an object whose keys are names", kwargs)
    return list(args), kwargs


def _no_call(what: str, wanted: str, given: object) -> Refused:
    return Refused(400, "BadRequest", f"{what} has to be {wanted}, not {named_kind(type(given))}.")


def _spoken(kind: str) -> str:
    return "JSON" if kind == JSON else "msgpack"
