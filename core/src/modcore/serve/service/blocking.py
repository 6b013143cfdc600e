"""What blocks, in threads beside the event loop: those that flows share, one for each call in flight."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from modcore.flow.workers import workers

_END = object()


class Blocking:
    """Runs one call's blocking parts, one after the other; `on_end` is called once none runs any more.

    A part cannot be stopped: when nobody waits for it any more, its result is dropped when it comes, and it
    counts as in flight until then.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._on_end = on_end
        self._is_running = self._is_over = False

    async def run(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, which runs in a thread."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def work() -> None:
            result, error = None, None
            try:
                result = self._context.run(call)
            except BaseException as raised:  # whatever a module raises belongs to its caller
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._settle, future, result, error)

        self._is_running = True
        workers.start(work)
        return await future

    def over(self) -> None:
        """Nothing more is asked for."""
        self._is_over = True
        if not self._is_running:
            self._on_end()

    def _settle(
        self, future: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        self._is_running = False
        if not future.done():  # a cancelled one has nobody who waits
            _resolve(future, result, error)
        if self._is_over:
            self._on_end()


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if error is None:
        future.set_result(result)
    elif isinstance(
        error, (StopIteration, GeneratorExit)
    ):  # no future carries one, the other ends calls
        carried = RuntimeError(f"the module raised {type(error).__name__}")
        carried.__cause__ = error
        future.set_exception(carried)
    else:
        future.set_exception(error)


class Pieces:
    """The pieces of a blocking iterator, each fetched in a thread; closed where it is left early."""

    def __init__(self, iterator: Iterator[Any], blocking: Blocking) -> None:
        self._iterator, self._blocking = iterator, blocking
        self._is_left = False

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Any:
        piece = await self._blocking.run(self._next)
        if piece is _END:
            raise StopAsyncIteration
        return piece

    async def gather(self) -> list[Any]:
        """All of them, fetched in one go."""
        return list(await self._blocking.run(self._all))

    def leave(self) -> None:
        """Close the iterator, at once or as soon as the piece under way is there."""
        self._is_left = True
        workers.start(self._close)

    def _next(self) -> Any:
        try:
            return next(self._iterator, _END)
        finally:
            self._close_if_left()

    def _all(self) -> list[Any]:
        pieces = []
        for piece in self._iterator:
            pieces.append(piece)
            if self._is_left:
                break
        self._close_if_left()
        return pieces

    def _close_if_left(self) -> None:
        if self._is_left:
            self._close()

    def _close(self) -> None:
        # One that runs in another thread refuses; that thread closes it then. What it raises is nobody's.
        with contextlib.suppress(Exception):
            getattr(self._iterator, "close", bool)()
