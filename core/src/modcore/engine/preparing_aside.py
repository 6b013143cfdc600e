"""Preparing requests beside an event loop, which has other callers meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from modcore.engine.engine import Engine
from modcore.engine.job import Job
from modcore.engine.prompts import Prompt, takes_long
from modcore.engine.sampling import SamplingParams
from modcore.errors import EngineBusy, EngineClosed

_COMPILERS = 2  # threads
_SHUT_DOWN = "The engine has been shut down."
#: Prompts that show images and are read at the same time: each has its images in memory, encoded.
MAX_READING = 32


class PreparingThreads:
    """Makes the jobs of `engine` in threads.

    What brings a schema or an expression that has to be compiled waits for threads of its own, and so
    does what shows more than text: however many come, and however long they take, they hold up nobody
    else's tokenizing.
    """

    def __init__(self, engine: Engine) -> None:
        self.requests = 0  # that are being prepared, or wait for it
        self._engine = engine
        self._compilers = ThreadPoolExecutor(_COMPILERS, "modcore grammars")
        self._readers = ThreadPoolExecutor(MAX_READING, "modcore reader")
        self._may_read = threading.Semaphore(MAX_READING)
        self._is_closed = False
        self._lock = threading.Lock()

    async def prepare(
        self, prompts: Sequence[Prompt], params: SamplingParams, priority: int
    ) -> list[Job]:
        """The job of each prompt; whoever is cancelled meanwhile needs none.

        Raises what `Engine.prepare` raises, EngineBusy when too many prompts that show images are
        being read, and EngineClosed after `stop`.
        """
        is_given_up = threading.Event()

        def is_wanted() -> bool:
            return not self._is_closed and not is_given_up.is_set()

        def work() -> list[Job]:
            if self._is_closed:
                raise EngineClosed(_SHUT_DOWN)
            return [self._engine.prepare(each, params, priority, is_wanted) for each in prompts]

        count = len(prompts) * params.choices
        self._count(count)
        try:
            if self._is_closed:
                return work()
            if any(takes_long(prompt) for prompt in prompts):
                return await asyncio.wrap_future(self._read(work))
            if self._engine.preparer.is_quick(params):
                return await asyncio.to_thread(work)
            return await asyncio.get_running_loop().run_in_executor(self._compilers, work)
        except EngineClosed as error:  # also when the reading was given up for it
            raise EngineClosed(_SHUT_DOWN) from error.__cause__
        finally:
            is_given_up.set()
            self._count(-count)

    def stop(self) -> None:
        """Prepare nothing more. Does not wait."""
        self._is_closed = True

    def join(self) -> None:
        """Wait until the threads have ended, after `stop`."""
        self._compilers.shutdown()
        self._readers.shutdown()

    def _read(self, work: Callable[[], list[Job]]) -> Future[list[Job]]:
        if not self._may_read.acquire(blocking=False):
            raise EngineBusy(
                f"{MAX_READING} prompts that show images are being read; try again later."
            )
        reading = self._readers.submit(work)
        reading.add_done_callback(lambda _: self._may_read.release())
        return reading

    def _count(self, more: int) -> None:
        with self._lock:
            self.requests += more
