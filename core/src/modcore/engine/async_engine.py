"""The engine behind asyncio: one thread takes the steps, one writes the texts, any number of tasks wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from modcore.engine.answers import Piece
from modcore.engine.engine import Engine
from modcore.engine.job import Job
from modcore.engine.preparing_aside import PreparingThreads
from modcore.engine.prompts import Prompt
from modcore.engine.sampling import SamplingParams
from modcore.errors import EngineBusy, EngineClosed, InvalidRequest, ModcoreError


class AsyncEngine:
    """Runs `engine` in threads of its own until `close`, which closes `engine` too.

    Tokenizing happens in a worker thread and detokenizing in another, so neither stalls a step.
    Prompts that show more than text are read in threads of their own, so that no text waits for them.
    `max_waiting` bounds the requests that wait to be prepared or started.
    """

    def __init__(self, engine: Engine, max_waiting: int = 1024) -> None:
        self.engine = engine
        self.max_waiting = max_waiting
        self._jobs: dict[str, Job] = {}  # that have not ended, by the request's id
        self._threads = PreparingThreads(engine)
        self._preparing: set[str] = set()  # ids of the requests that are being tokenized
        self._submitted: list[Job] = []
        self._aborted: list[Job] = []
        self._changed = threading.Condition()
        self._closed: ModcoreError | None = None
        self._is_over = False  # no step will be taken any more
        self._has_tokens = threading.Event()
        self._writer = threading.Thread(target=self._write, name="modcore texts", daemon=True)
        self._thread = threading.Thread(target=self._run, name="modcore engine", daemon=True)
        self._writer.start()
        self._thread.start()

    @classmethod
    def from_pretrained(cls, path: str | Path, max_waiting: int = 1024, **options: Any) -> Self:
        """As `Engine.from_pretrained`, with its `options`."""
        return cls(Engine.from_pretrained(path, **options), max_waiting)

    @property
    def is_alive(self) -> bool:
        """Whether requests are taken and answered."""
        return self._closed is None and self._thread.is_alive() and self._writer.is_alive()

    async def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> AsyncIterator[Piece]:
        """Answer `prompt` piece by piece; raises what `submit` raises, and what ends the answer.

        Leaving the loop early ends the request.
        """
        params = params or SamplingParams()
        answer = await self.submit(prompt, params, request_id=request_id, priority=priority)
        async with answer:
            async for piece in answer:
                yield piece

    async def submit(
        self,
        prompt: Prompt,
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> Answer:
        """Queue `prompt`; returns its answer, to be read piece by piece.

        Raises InvalidRequest here, before anything is generated, EngineBusy when too many wait, and
        EngineClosed when the engine has been shut down.
        """
        (answer,) = await self.submit_all(
            [prompt], params, request_id=request_id, priority=priority
        )
        return answer

    async def submit_all(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> list[Answer]:
        """Queue all of `prompts`, or none when one of them is refused; raises what `submit` raises."""
        self._verify_room(len(prompts) * params.choices)
        if request_id is not None:
            self._preparing.add(request_id)
        try:
            jobs = await self._threads.prepare(prompts, params, priority)
            with self._changed:
                self._verify_room(len(prompts) * params.choices)
                answers = [
                    self._queue(job, uuid.uuid4().hex if request_id is None else request_id)
                    for job in jobs
                ]
                if request_id is not None and request_id not in self._preparing:
                    self.abort(request_id)  # somebody ended it meanwhile
            return answers
        finally:
            self._preparing.discard(request_id or "")

    def _verify_room(self, count: int) -> None:
        if self._closed:
            raise self._closed
        submitted = sum(len(job.requests) for job in list(self._submitted))
        early = self._threads.requests + submitted
        if early + len(self.engine.scheduler.waiting) + count > self.max_waiting:
            raise EngineBusy(f"{self.max_waiting} requests are waiting; try again later.")

    def _queue(self, job: Job, request_id: str) -> Answer:
        if request_id in self._jobs:
            raise InvalidRequest(
                f"A request {request_id!r} is running; give each an id of its own.",
                param="request_id",
            )
        answer = Answer(self, request_id, job)
        self._jobs[request_id] = job
        self._submitted.append(job)
        self._changed.notify()
        return answer

    def abort(self, request_id: str) -> None:
        """End a request before the next step; harmless when it has ended. Never waits for a step."""
        with self._changed:
            self._preparing.discard(request_id)
            job = self._jobs.get(request_id)
            if job:
                self._abort_job(request_id, job)

    def _abort_job(self, request_id: str, job: Job) -> None:
        with self._changed:
            if self._jobs.get(request_id) is job:  # and not a later one of the same id
                del self._jobs[request_id]
                self._aborted.append(job)
                self._changed.notify()

    def shut_down(self) -> None:
        """End what still runs with an error, and take nothing new. Does not wait."""
        self._shut_down(EngineClosed("The engine has been shut down."))

    def close(self) -> None:
        """Shut down, and wait until the threads have ended."""
        self.shut_down()
        self._thread.join()
        self._writer.join()
        self.engine.close()  # before the next line: no schema is waited for
        self._threads.join()

    def _shut_down(self, reason: ModcoreError) -> None:
        with self._changed:
            self._closed = self._closed or reason
            self._threads.stop()
            self._changed.notify()

    def _run(self) -> None:
        try:
            while self._take_orders():
                self.engine.stepper.compute()
                self._has_tokens.set()
        except BaseException as error:  # whatever it is, nobody may wait for this thread in vain
            self._shut_down(_failed(error))
        finally:
            self._end_all()

    def _take_orders(self) -> bool:
        """Wait until there is something to step; takes and frees what was asked. False once closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or self._submitted
                    or self._aborted
                    or self.engine.scheduler.has_work
                )
            )
            if self._closed:
                return False
            submitted, self._submitted = self._submitted, []
            aborted, self._aborted = self._aborted, []
        for job in submitted:
            self.engine.submit(job)
        for job in aborted:
            self.engine.abort(job)
        return True

    def _write(self) -> None:
        try:
            while not self._is_over:
                self._has_tokens.wait()
                self._has_tokens.clear()
                self.engine.stepper.write()
                self._forget_finished()
        except BaseException as error:
            self._shut_down(_failed(error))

    def _forget_finished(self) -> None:
        with self._changed:
            # A copy: an answer that is collected meanwhile takes its job out.
            for request_id, job in list(self._jobs.items()):
                if job.is_done:
                    self._jobs.pop(request_id, None)

    def _end_all(self) -> None:
        with self._changed:
            unfinished = [*self._jobs.values(), *self._aborted]
            self._jobs, self._submitted, self._aborted = {}, [], []
            assert self._closed is not None
            reason = self._closed
        try:
            for job in unfinished:
                with contextlib.suppress(Exception):  # of whoever takes the pieces
                    self.engine.abort(job, reason)
                    job.fail(reason)  # one that had not been submitted yet
        finally:
            self._is_over = True
            self._has_tokens.set()


def _failed(error: BaseException) -> EngineClosed:
    reason = EngineClosed(f"The engine has failed: {type(error).__name__}: {error}")
    reason.__cause__ = error
    return reason


class Answer:
    """The pieces of one answer: an async iterator, and a context manager that ends the request.

    An answer that nobody holds any more ends its request too.
    """

    def __init__(self, engine: AsyncEngine, request_id: str, job: Job) -> None:
        self.request_id = request_id
        self.job = job
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Piece | ModcoreError] = asyncio.Queue()
        self._finished = False
        self._abort = weakref.finalize(self, engine._abort_job, request_id, job)
        self._abort.atexit = False
        mailbox = weakref.WeakMethod(self._put)
        job.deliver = lambda item: put(item) if (put := mailbox()) else None

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
        self._finished = item.usage is not None
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
