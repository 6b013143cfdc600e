"""The engine behind asyncio: one thread takes the steps, any number of tasks wait for pieces."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from types import TracebackType
from typing import Self

from modcore.engine.engine import Engine
from modcore.engine.prompts import Prompt
from modcore.engine.request import Piece, Request
from modcore.engine.sampling import SamplingParams
from modcore.errors import EngineBusy, EngineClosed, ModcoreError


class AsyncEngine:
    """Runs `engine` in a thread of its own until `close`.

    `max_waiting` bounds the requests that wait to be started.
    """

    def __init__(self, engine: Engine, max_waiting: int = 1024) -> None:
        self.engine = engine
        self.max_waiting = max_waiting
        self._unfinished: set[Request] = set()
        self._aborted: list[Request] = []
        self._changed = threading.Condition()
        self._closed: ModcoreError | None = None
        self._thread = threading.Thread(target=self._run, name="modcore engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether requests are taken and answered."""
        return self._closed is None and self._thread.is_alive()

    async def submit(self, prompt: Prompt, params: SamplingParams) -> Answer:
        """Queue `prompt`; returns its answer, to be read piece by piece.

        Raises InvalidRequest here, before anything is generated, EngineBusy when too many wait, and
        EngineClosed when the engine has been shut down.
        """
        # Tokenizing a long prompt takes a while; the event loop has other callers.
        request = await asyncio.to_thread(self.engine.prepare, prompt, params)
        answer = Answer(self, request)
        with self._changed:
            if self._closed:
                raise self._closed
            if len(self.engine.scheduler.waiting) >= self.max_waiting:
                raise EngineBusy(f"{self.max_waiting} requests are waiting; try again later.")
            self._unfinished.add(request)
            self.engine.scheduler.add(request)
            self._changed.notify()
        return answer

    def abort(self, request: Request) -> None:
        """End a request before the next step; harmless when it has ended. Never waits for a step."""
        with self._changed:
            self._aborted.append(request)
            self._changed.notify()

    def shut_down(self) -> None:
        """End what still runs with an error, and take nothing new. Does not wait."""
        self._shut_down(EngineClosed("The engine has been shut down."))

    def close(self) -> None:
        """Shut down, and wait until the thread has ended."""
        self.shut_down()
        self._thread.join()

    def _shut_down(self, reason: ModcoreError) -> None:
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify()

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self.engine.step()
                self._forget_finished()
        except BaseException as error:  # whatever it is, nobody may wait for this thread in vain
            reason = EngineClosed(f"The engine has failed: {type(error).__name__}: {error}")
            reason.__cause__ = error
            self._shut_down(reason)
        finally:
            self._end_all()

    def _wait_for_work(self) -> bool:
        """Wait until there is something to step; frees what was aborted. False once closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._aborted or self.engine.scheduler.has_work
            )
            aborted, self._aborted = self._aborted, []
        for request in aborted:
            self.engine.abort(request)
        return self._closed is None

    def _forget_finished(self) -> None:
        with self._changed:
            self._unfinished = {each for each in self._unfinished if not each.is_done}

    def _end_all(self) -> None:
        with self._changed:
            unfinished, self._unfinished = self._unfinished, set()
            assert self._closed is not None
            reason = self._closed
        for request in unfinished:
            request.fail(reason)
            self.engine.abort(request)


class Answer:
    """The pieces of one answer: an async iterator, and a context manager that ends the request.

    An answer that nobody holds any more ends its request too.
    """

    def __init__(self, engine: AsyncEngine, request: Request) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Piece | ModcoreError] = asyncio.Queue()
        self._finished = False
        self._abort = weakref.finalize(self, engine.abort, request)
        self._abort.atexit = False
        mailbox = weakref.WeakMethod(self._put)
        request.deliver = lambda item: put(item) if (put := mailbox()) else None

    def _put(self, item: Piece | ModcoreError) -> None:
        # A loop that has been closed has nobody waiting any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    def close(self) -> None:
        """End the request, if it has not ended; whoever reads gets a last piece, ``abort``."""
        self._abort()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        if self._finished:
            raise StopAsyncIteration
        item = await self._queue.get()
        if isinstance(item, ModcoreError):
            self._finished = True
            raise item
        self._finished = item.finish_reason is not None
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
