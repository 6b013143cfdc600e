"""One process of a service: how it is started, what it says, how it ends."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO

from modcore.deploy.environment import child_environment
from modcore.deploy.log_files import MAX_LINE
from modcore.deploy.parent import PARENT_PIPE
from modcore.deploy.payload import Payload
from modcore.plugins.records import ServiceSpec

#: What takes a line that a child has printed; returns it as it may be shown.
Listener = Callable[[str], str]

#: How long the last output of a process that has ended may take to come through its pipes.
_DRAIN_SECONDS = 1.0


class Child:
    """A process that runs `spec`, in a session of its own: Ctrl-C in our terminal is ours to act on.

    It prints ``url: http://...`` once it is ready; what stands before that on its stdout is for the
    launcher, too, and `listener` gets every other line. `secret_payload` are bytes for it alone, over
    a pipe of its own.
    """

    def __init__(self, spec: ServiceSpec, secret_payload: bytes | None, listener: Listener) -> None:
        self.url = ""
        self.said = threading.Event()  # it has said its URL, or has ended
        self._listener = listener
        self._last_words: collections.deque[str] = collections.deque(maxlen=20)
        with Payload(secret_payload) as payload:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "modcore", *spec.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env={
                    **child_environment(spec.environment),
                    **payload.environment,
                    PARENT_PIPE: str(os.getpid()),
                },
                pass_fds=payload.descriptors,
                start_new_session=True,
            )
            payload.send()
        self._readers = [self._read(self.process.stdout), self._read(self.process.stderr)]

    @property
    def last_words(self) -> str:
        """The last lines that it printed, as they may be shown."""
        return "\n".join(self._last_words) or "(it said nothing)"

    def wait(self) -> int:
        """Wait until it has ended and all that it said is read; returns its exit code."""
        code = self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it started and left behind
        for reader in self._readers:
            reader.join(_DRAIN_SECONDS)
        if self.process.stdin:
            self.process.stdin.close()
        self.said.set()
        return code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def _read(self, pipe: IO[str] | None) -> threading.Thread:
        """Read `pipe` to its end: a child whose pipe is full would stand still."""
        assert pipe is not None
        reader = threading.Thread(target=self._listen, args=(pipe,), daemon=True)
        reader.start()
        return reader

    def _listen(self, pipe: IO[str]) -> None:
        with pipe:
            while line := pipe.readline(MAX_LINE):
                self._hear(line.rstrip("\r\n"), is_announcement=pipe is self.process.stdout)

    def _hear(self, line: str, is_announcement: bool) -> None:
        if is_announcement and line.startswith("url: ") and not self.url:
            self.url = line.removeprefix("url: ").strip()
            self.said.set()
            return
        is_for_launcher = is_announcement and not self.url
        self._last_words.append(line if is_for_launcher else self._listener(line))
