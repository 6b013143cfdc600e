"""Calling an item, in the sync and in the async form.

A flow that goes step by step is written once, as a generator of `Call`s that is sent each result
(`drive`, `adrive`). Knows items, and of flows only that they have children.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from modcore.flow.batch import Batch, run_elsewhere
from modcore.flow.interrupts import lively
from modcore.flow.places import add_place

Function = Callable[..., Any]
#: Yields calls, is sent their results, returns the flow's.
Script = Generator["Call", Any, Any]
#: What is made piece by piece, after the flow that it leaves has ended.
STREAMS = (GeneratorType, AsyncGeneratorType)


@dataclass(slots=True)
class Call:
    """An item, what it is called with, and where in its flow it stands (``step 2 'parse'``)."""

    function: Function
    args: tuple[Any, ...]
    part: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> Any:
        """The result, in the sync form."""
        return settled(self.function(*self.args, **self.kwargs))

    async def arun(self) -> Any:
        """The result, in the async form."""
        return await acall(self.function, *self.args, **self.kwargs)

    def failed(self, error: Exception, kind: str) -> None:
        """Say on `error` that it was raised here, in a flow of this `kind`."""
        add_place(error, kind, self.part, inside_flow=is_flow(self.function))


def drive(kind: str, script: Script) -> Any:
    """Run `script` to its end in the sync form."""
    call, result = None, None
    while True:
        try:
            call = script.send(result)
        except StopIteration as done:
            return _told_if_last(done.value, result, call, kind)
        try:
            result = call.run()
        except Exception as error:
            call.failed(error, kind)
            raise


async def adrive(kind: str, script: Script) -> Any:
    """Run `script` to its end in the async form."""
    call, result = None, None
    while True:
        try:
            call = script.send(result)
        except StopIteration as done:
            return _told_if_last(done.value, result, call, kind)
        try:
            result = await call.arun()
        except Exception as error:
            call.failed(error, kind)
            raise


def _told_if_last(value: Any, result: Any, call: Call | None, kind: str) -> Any:
    return told(value, call, kind) if call is not None and value is result else value


def told(value: Any, call: Call, kind: str) -> Any:
    """`value`, which leaves a flow; the errors of a generator are told where it was made."""
    if type(value) is GeneratorType:
        return _told(value, call, kind)
    return _atold(value, call, kind) if type(value) is AsyncGeneratorType else value


def _told(pieces: Generator[Any, Any, Any], call: Call, kind: str) -> Generator[Any, Any, Any]:
    try:
        return (yield from pieces)
    except Exception as error:
        call.failed(error, kind)
        raise


async def _atold(
    pieces: AsyncGenerator[Any, Any], call: Call, kind: str
) -> AsyncGenerator[Any, Any]:
    try:
        async for piece in pieces:
            yield piece
    except Exception as error:
        call.failed(error, kind)
        raise
    finally:
        await pieces.aclose()


async def acall(function: Function, /, *args: Any, **kwargs: Any) -> Any:
    """Call `function` from a coroutine: through its ``acall`` if it has one, awaiting a coroutine."""
    if (method := _acall_of(function)) is not None:
        return await method(*args, **kwargs)
    value = function(*args, **kwargs)
    return await value if type(value) is CoroutineType else value


def settled(value: Any) -> Any:
    """`value`, or what it ends with where it is a coroutine."""
    return run(value) if type(value) is CoroutineType else value


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run `coroutine` to its end; in a thread of its own where this one has a running loop."""
    if not _has_running_loop():
        in_main = threading.current_thread() is threading.main_thread()
        return asyncio.run(coroutine if in_main else lively(coroutine))
    context = contextvars.copy_context()
    batch = Batch([functools.partial(context.run, asyncio.run, lively(coroutine))])
    run_elsewhere(batch)
    return batch.only_result()


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _acall_of(function: Any) -> Callable[..., Any] | None:
    method = None if isinstance(function, type) else getattr(function, "acall", None)
    return method if callable(method) else None


def unbound(function: Any) -> Any:
    """The function itself, without what was bound to it."""
    while (inner := getattr(type(function), "_bound_function", None)) is not None:
        function = inner(function)
    return function


def is_flow(function: Any) -> bool:
    """Whether `function`, without what was bound to it, is a flow."""
    return hasattr(type(unbound(function)), "_children")


def needs_loop(function: Any) -> bool:
    """Whether it is a coroutine function, or a flow with one in it: it has no other form."""
    function = unbound(function)
    if is_flow(function):
        return bool(function._needs_loop())
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - whether it is async is asked
    )


def prefers_loop(function: Any) -> bool:
    """Whether its async form is more than a blocking call: a Module's, a coroutine function's."""
    function = unbound(function)
    if is_flow(function):
        return any(prefers_loop(child) for child in function._children())
    if getattr(type(function), "_fits_threads", False):
        return False
    return _acall_of(function) is not None or needs_loop(function)
