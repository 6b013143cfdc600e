"""Callers that go on whatever happens: so many calls a second, and what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class Calls:
    """What became of the calls: `failures`, and how many were `made`."""

    def __init__(self) -> None:
        self.made = 0
        self.failures: list[BaseException] = []
        self.slowest = 0.0

    def note(self, future: Future[float]) -> None:
        """One has ended."""
        self.made += 1
        if (error := future.exception()) is not None:
            self.failures.append(error)
        else:
            self.slowest = max(self.slowest, future.result())


@contextmanager
def calling(call: Callable[[], Any], rate: float = 200.0, threads: int = 16) -> Iterator[Calls]:
    """Call `rate` times a second, due when they are due however long those before take, until the block ends."""
    calls, over = Calls(), threading.Event()

    def timed() -> float:
        started = time.monotonic()
        call()
        return time.monotonic() - started

    def go_on() -> None:
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            pool.submit(timed).add_done_callback(calls.note)
            due += 1 / rate

    with ThreadPoolExecutor(threads) as pool:
        pacer = threading.Thread(target=go_on)
        pacer.start()
        try:
            yield calls
        finally:
            over.set()
            pacer.join()
