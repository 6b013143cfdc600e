"""Pieces on their way to the caller: shown to a sink, told to hooks when they end or fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modcore.module.base import ModuleBase


@dataclass(frozen=True, slots=True)
class StreamSink:
    """Where pieces go, and what goes before and after them."""

    sink: Callable[[Any], None]
    prefix: Any
    suffix: Any


#: The sinks of this context by the modules' ids: another thread or task shows its pieces elsewhere.
_sinks: ContextVar[Mapping[int, StreamSink]] = ContextVar("modcore_stream_sinks", default={})  # noqa: B039


def sink_of(module: ModuleBase) -> StreamSink | None:
    """Where a call of `module` in this context shows its pieces."""
    return _sinks.get().get(id(module))


@contextmanager
def shown_to(sink: StreamSink, module: ModuleBase) -> Iterator[None]:
    """Calls of `module` in this context show their pieces to `sink`."""
    token = _sinks.set({**_sinks.get(), id(module): sink})
    try:
        yield
    finally:
        _sinks.reset(token)


@dataclass(frozen=True, slots=True)
class Watch:
    """What hears of a stream: `sink` each piece, `ended` all of them, `failed` its error.

    A caller that stops early ends a stream with GeneratorExit, which is an error here too.
    """

    sink: StreamSink | None
    ended: Callable[[list[Any]], None] | None
    failed: Callable[[BaseException], None]

    def over(self, pieces: Iterator[Any]) -> Iterator[Any]:
        """`pieces`, watched."""
        passed: list[Any] = []
        try:
            self._show("prefix")
            for piece in pieces:
                self._pass(piece, passed)
                yield piece
            self._show("suffix")
        except BaseException as error:
            self.failed(error)
            raise
        if self.ended is not None:
            self.ended(passed)

    async def aover(self, pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """As `over`, for an async generator."""
        passed: list[Any] = []
        try:
            self._show("prefix")
            async for piece in pieces:
                self._pass(piece, passed)
                yield piece
            self._show("suffix")
        except BaseException as error:
            self.failed(error)
            raise
        if self.ended is not None:
            self.ended(passed)

    def _pass(self, piece: Any, passed: list[Any]) -> None:
        if self.sink is not None:
            self.sink.sink(piece)
        if self.ended is not None:  # or an endless stream would be kept for nobody
            passed.append(piece)

    def _show(self, end: str) -> None:
        mark = getattr(self.sink, end, None)
        if self.sink is not None and mark is not None:
            self.sink.sink(mark)
