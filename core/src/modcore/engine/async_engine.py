"""The engine behind asyncio: one thread takes the steps, any number of tasks wait for pieces."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from types import TracebackType
from typing import Self

from modcore.engine.engine import Engine, Prompt
from modcore.engine.request import Piece, Request
from modcore.engine.sampling import SamplingParams
from modcore.errors import ModcoreError


class AsyncEngine:
    """Runs `engine` in a thread of its own until `close`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._answers: dict[Request, weakref.ref[Answer]] = {}
        self._aborted: list[Request] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="modcore engine", daemon=True)
        self._thread.start()

    async def submit(self, prompt: Prompt, params: SamplingParams) -> Answer:
        """Queue `prompt`; returns its answer, to be read piece by piece.

        Raises InvalidRequest here, before anything is generated.
        """
        # Tokenizing a long prompt takes a while; the event loop has other callers.
        ids = await asyncio.to_thread(self.engine.encode, prompt)
        request = self.engine.new_request(ids, params)
        answer = Answer(self, request)
        with self._changed:
            if self._closed:
                raise ModcoreError("The engine is shutting down; send the request elsewhere.")
            self._answers[request] = weakref.ref(answer)
            self.engine.scheduler.add(request)
            self._changed.notify()
        return answer

    def abort(self, request: Request) -> None:
        """End a request before the next step; harmless when it has ended. Never waits for a step."""
        with self._changed:
            if self._answers.pop(request, None) is not None:
                self._aborted.append(request)
                self._changed.notify()

    def shut_down(self) -> None:
        """End what still runs with an error, and take nothing new. Does not wait."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def close(self) -> None:
        """Shut down, and wait until the thread has ended."""
        self.shut_down()
        self._thread.join()

    def _run(self) -> None:
        while self._wait_for_work():
            for request in self.engine.step():
                self._deliver(request)
        with self._changed:
            unfinished = list(self._answers)
        for request in unfinished:
            request.error = ModcoreError("The engine was shut down before the answer was finished.")
            self.engine.abort(request)
            self._deliver(request)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to step; frees what was aborted. False once closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._aborted or self.engine.scheduler.has_work
            )
            aborted, self._aborted = self._aborted, []
        for request in aborted:
            self.engine.abort(request)
        return not self._closed

    def _deliver(self, request: Request) -> None:
        with self._changed:
            reference = self._answers.get(request)
            if request.is_done:
                self._answers.pop(request, None)
        answer = reference() if reference else None
        if answer is None:
            return
        while request.pieces:
            answer.put(request.pieces.popleft())
        if request.error:
            answer.put(request.error)


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

    def put(self, item: Piece | ModcoreError) -> None:
        """Called by the engine's thread."""
        # A loop that has been closed has nobody waiting any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    def close(self) -> None:
        """End the request, if it has not ended."""
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
