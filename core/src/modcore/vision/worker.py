"""The thread that decodes images and runs towers, behind everything else that the process does."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from modcore.errors import EngineClosed, StepFailed

#: The least of priorities: a decode step that has something to do goes first.
NICE = 19

T = TypeVar("T")


class FeatureWorker:
    """Runs one task at a time in a thread of the lowest priority, started with the first one.

    Who may submit how much is bounded by whoever submits; see `AsyncEngine`.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "modcore images", initializer=_step_back)
        self._is_closed = False

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Queue `task`; raises EngineClosed after `close`, StepFailed where no thread can be started."""
        try:
            return self._pool.submit(_result_of, task)
        except RuntimeError as error:
            if self._is_closed:
                raise EngineClosed("The engine has been closed; make a new one.") from None
            raise StepFailed(
                f"The thread that reads images cannot be started: {error}; free memory, or let the process have "
                "more threads."
            ) from error

    def close(self) -> None:
        """Drop what waits, and wait for what runs."""
        self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)


def _result_of(task: Callable[[], T]) -> T:
    try:
        return task()
    except SystemExit as error:  # it would end whoever waits, and so the server
        raise StepFailed(
            f"The vision model's code asked the process to end ({error!r}); update the package that brings it."
        ) from error


def _step_back() -> None:
    """Let others go first; threads that this one starts inherit it, torch's own among them."""
    if sys.platform == "linux":  # elsewhere a priority is the whole process's
        with contextlib.suppress(
            OSError
        ):  # where a sandbox forbids it, images are read all the same
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
