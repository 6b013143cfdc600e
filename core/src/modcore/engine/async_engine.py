"""The engine behind asyncio: one thread takes the steps, any number of tasks wait for pieces."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

from modcore.engine.engine import Engine, Prompt
from modcore.engine.request import Piece, Request
from modcore.engine.sampling import SamplingParams
from modcore.errors import ModcoreError


class AsyncEngine:
    """Runs `engine` in a thread of its own until `close`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._mailboxes: dict[Request, _Mailbox] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="modcore engine", daemon=True)
        self._thread.start()

    async def submit(self, prompt: Prompt, params: SamplingParams) -> AsyncIterator[Piece]:
        """Queue `prompt`; returns the iterator over its pieces.

        Raises InvalidRequest here, before anything is generated. Closing the iterator, or
        cancelling the task that reads it, ends the request.
        """
        # Tokenizing a long prompt takes a while; the event loop has other callers.
        ids = await asyncio.to_thread(self.engine.encode, prompt)
        mailbox = _Mailbox(asyncio.get_running_loop())
        with self._changed:
            if self._closed:
                raise ModcoreError("The engine is shutting down; send the request elsewhere.")
            request = self.engine.add(ids, params)
            self._mailboxes[request] = mailbox
            self._changed.notify()
        return self._pieces(request, mailbox)

    async def _pieces(self, request: Request, mailbox: _Mailbox) -> AsyncIterator[Piece]:
        try:
            while True:
                item = await mailbox.queue.get()
                if isinstance(item, ModcoreError):
                    raise item
                yield item
                if item.finish_reason:
                    return
        finally:
            self.abort(request)

    def abort(self, request: Request) -> None:
        """End a request; harmless when it has ended."""
        with self._changed:
            self._mailboxes.pop(request, None)
        self.engine.abort(request)

    def close(self) -> None:
        """Stop the thread; requests that still run end with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._wait_for_work():
            for request in self.engine.step():
                self._deliver(request)
        with self._changed:
            for mailbox in self._mailboxes.values():
                mailbox.put(ModcoreError("The engine was shut down before the answer was finished."))
            self._mailboxes.clear()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.engine.scheduler.has_work)
            return not self._closed

    def _deliver(self, request: Request) -> None:
        with self._changed:
            mailbox = self._mailboxes.get(request)
            if request.is_done:
                self._mailboxes.pop(request, None)
        if mailbox is None:
            return
        while request.pieces:
            mailbox.put(request.pieces.popleft())
        if request.error:
            mailbox.put(request.error)


class _Mailbox:
    """Where the engine's thread leaves a request's pieces for the task that waits for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.queue: asyncio.Queue[Piece | ModcoreError] = asyncio.Queue()

    def put(self, item: Piece | ModcoreError) -> None:
        # A loop that has been closed has nobody waiting any more.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.queue.put_nowait, item)
