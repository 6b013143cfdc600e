"""The threads that every parallel shares: they are kept, reused, and more are started as needed.

`start` always finds a thread, so nothing that has to run can wait for something that waits for it.
`offer` respects `MAX_THREADS`: it is for help that one can do without.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]
Mailbox = queue.SimpleQueue[Job]

#: Above this many threads no more are started for help that one can do without.
MAX_THREADS = 512
#: A thread without work ends after this many seconds.
IDLE_SECONDS = 30.0


class Workers:
    """Daemon threads with a mailbox each. A fork's child begins with none."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[Mailbox] = []
        self._count = 0

    def start(self, job: Job) -> None:
        """Run `job` in a thread now; raises RuntimeError where the system gives no thread."""
        self._place(job, None)

    def offer(self, job: Job) -> bool:
        """Run `job` in a thread now if there may be one; otherwise false."""
        try:
            return self._place(job, MAX_THREADS)
        except RuntimeError:  # the system, or an interpreter that shuts down, gives no thread
            return False

    def _place(self, job: Job, limit: int | None) -> bool:
        if self._process != os.getpid():
            self._forget()
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
                return True
            if limit is not None and self._count >= limit:
                return False
            self._count += 1
        mailbox: Mailbox = queue.SimpleQueue()
        mailbox.put(job)
        try:
            threading.Thread(
                target=self._live, args=(mailbox,), name="modcore-flow", daemon=True
            ).start()
        except RuntimeError:
            self._retire(None)
            raise
        return True

    def _live(self, mailbox: Mailbox) -> None:
        job: Job | None = mailbox.get()
        while job is not None:
            job()
            job = None  # what it holds must not outlive it while this thread waits
            with self._lock:
                self._idle.append(mailbox)
            job = self._next(mailbox)

    def _next(self, mailbox: Mailbox) -> Job | None:
        try:
            return mailbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return None if self._retire(mailbox) else mailbox.get()

    def _retire(self, mailbox: Mailbox | None) -> bool:
        """Whether a thread may end: not where somebody has just taken its mailbox for a job."""
        with self._lock:
            if mailbox is not None:
                if mailbox not in self._idle:
                    return False
                self._idle.remove(mailbox)
            self._count -= 1
            return True


workers = Workers()
