"""Preparing requests beside an event loop, which has other callers meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from modcore.engine.engine import Engine
from modcore.engine.job import Job
from modcore.engine.prompts import Prompt
from modcore.engine.sampling import SamplingParams
from modcore.errors import EngineClosed

_COMPILERS = 2  # threads


class PreparingThreads:
    """Makes the jobs of `engine` in threads.

    What brings a schema or an expression that has to be compiled waits for threads of its own: however
    many come, and however long they take, they hold up nobody else's tokenizing.
    """

    def __init__(self, engine: Engine) -> None:
        self.requests = 0  # that are being prepared, or wait for it
        self._engine = engine
        self._compilers = ThreadPoolExecutor(_COMPILERS, "modcore grammars")
        self._is_closed = False
        self._lock = threading.Lock()

    async def prepare(
        self, prompts: Sequence[Prompt], params: SamplingParams, priority: int
    ) -> list[Job]:
        """The job of each prompt; raises what `Engine.prepare` raises, and EngineClosed after `stop`."""

        def work() -> list[Job]:
            if self._is_closed:
                raise EngineClosed("The engine has been shut down.")
            return [self._engine.prepare(prompt, params, priority) for prompt in prompts]

        count = len(prompts) * params.choices
        self._count(count)
        try:
            if self._engine.preparer.is_quick(params) or self._is_closed:
                return await asyncio.to_thread(work)
            return await asyncio.get_running_loop().run_in_executor(self._compilers, work)
        finally:
            self._count(-count)

    def stop(self) -> None:
        """Prepare nothing more. Does not wait."""
        self._is_closed = True

    def join(self) -> None:
        """Wait until the threads have ended, after `stop`."""
        self._compilers.shutdown()

    def _count(self, more: int) -> None:
        with self._lock:
            self.requests += more
