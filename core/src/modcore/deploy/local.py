"""The `local` launcher: a service as a child process on this machine's loopback.

The child prints ``url: http://...`` once it is ready; that line is how the launcher learns where it
listens. It gets the same plugins as its parent, and ends when its parent's pipe closes.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from modcore.deploy.parent import PARENT_PIPE, PAYLOAD_PIPE
from modcore.errors import ServiceError
from modcore.plugins.records import ServiceSpec
from modcore.plugins.verdicts import ALLOW, list_plugins

#: What a child does not inherit: a key that this process may serve under is not the child's.
_PRIVATE = frozenset({"MODCORE_API_KEY"})


class LocalService:
    """A child process; see `Service`. Once it is ready, what it says on stderr goes to ours."""

    def __init__(self, spec: ServiceSpec, process: subprocess.Popen[str]) -> None:
        self.name = spec.name
        self.url = ""
        self.process = process
        self._last_words: collections.deque[str] = collections.deque(maxlen=20)
        self._urls: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    # Both are read to the end: a child whose pipe is full would stand still.

    def _read_output(self) -> None:
        assert self.process.stdout
        with self.process.stdout as stdout:
            for line in stdout:
                self._last_words.append(line.rstrip())
                if line.startswith("url: "):
                    self._urls.put(line.removeprefix("url: ").strip())
        self._urls.put("")  # it has ended, or will never say it

    def _read_errors(self) -> None:
        assert self.process.stderr
        with self.process.stderr as stderr:
            for line in stderr:
                self._last_words.append(line.rstrip())
                if self.url:
                    print(f"{self.name}: {line.rstrip()}", file=sys.stderr)

    def wait_until_ready(self, timeout: float) -> None:
        """Wait `timeout` seconds for the child to name its URL; raises ServiceError."""
        end = time.monotonic() + timeout
        while True:  # in short waits, so that whoever waits in a thread can be interrupted
            with contextlib.suppress(queue.Empty):
                self.url = self._urls.get(timeout=0.05)
                break
            if time.monotonic() > end:
                self.stop()
                raise ServiceError(
                    f"service {self.name} was not ready within {timeout:g} s; it said: {self.last_words()}"
                )
        if not self.url:
            code = self._wait(timeout=5.0)
            raise ServiceError(
                f"service {self.name} ended with exit code {code} before it was ready: {self.last_words()}"
            )

    def last_words(self) -> str:
        """The last lines that the child printed."""
        return "\n".join(self._last_words) or "(nothing)"

    def poll(self) -> int | None:
        """The exit code of a child that has ended, None while it runs."""
        return self.process.poll()

    def wait(self) -> int:
        """Wait until the child has ended by itself; returns its exit code."""
        return self.process.wait()

    def stop(self, timeout: float = 10.0) -> int:
        """Ask the child to end, kill it after `timeout` seconds; returns its exit code."""
        self.process.terminate()
        return self._wait(timeout)

    def _wait(self, timeout: float) -> int:
        try:
            self.process.wait(timeout)
        except BaseException as error:
            self.process.kill()
            self.process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise  # somebody has lost patience
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it started and left behind
        for reader in self._readers:
            reader.join(1.0)
        if self.process.stdin:
            self.process.stdin.close()
        return self.process.returncode


class LocalLauncher:
    """Starts services as children of this process.

    `secret_payload` are bytes for the child alone, over a pipe of its own. A child has a session of its
    own: Ctrl-C in our terminal is ours to act on.
    """

    def __init__(self, secret_payload: bytes | None = None) -> None:
        self._payload = secret_payload

    def launch(self, spec: ServiceSpec) -> LocalService:
        """Start `spec` and return it when it is ready; raises ServiceError with the child's words."""
        with _Payload(self._payload) as payload:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "modcore", *spec.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env={**_environment(spec), **payload.environment},
                pass_fds=payload.descriptors,
                start_new_session=True,
            )
            payload.send()
        service = LocalService(spec, process)
        try:
            service.wait_until_ready(spec.ready_timeout)
        except BaseException:
            service.stop(timeout=0.0)
            raise
        return service


class _Payload:
    """A pipe with bytes for one child."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content
        self.descriptors: tuple[int, ...] = ()
        self.environment: dict[str, str] = {}
        self._writer = -1

    def __enter__(self) -> _Payload:
        if self._content is not None:
            reader, self._writer = os.pipe()
            self.descriptors = (reader,)
            self.environment = {PAYLOAD_PIPE: str(reader)}
        return self

    def send(self) -> None:
        """Write beside whoever waits: a pipe holds less than a module may need."""
        if self._content is not None:
            threading.Thread(target=self._write, args=(self._writer,), daemon=True).start()
            self._writer = -1

    def _write(self, writer: int) -> None:
        # A child that ends before it has read says why on its stderr.
        with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as pipe:
            pipe.write(self._content or b"")

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self.descriptors, self._writer):
            if descriptor >= 0:
                os.close(descriptor)


def _environment(spec: ServiceSpec) -> dict[str, str]:
    plugins = {entry.dist for entry in list_plugins() if entry.status in ("ok", "duplicate")}
    inherited = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
    ours = {
        ALLOW: ",".join(sorted(plugins)),
        PARENT_PIPE: "1",
        # What can be imported here can be imported there.
        "PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    return {**inherited, **ours, **spec.environment}
