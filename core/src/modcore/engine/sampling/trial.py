"""Compiling a suspicious grammar in a process of its own first, which can be stopped.

llguidance bounds most of its work, but not all: expressions that hold for the same value multiply, and so do
branches that are merged. That can take hours and gigabytes, in a thread that nothing ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modcore.engine.sampling import trial_process
from modcore.engine.sampling.trial_process import BEGUN, WALL_SECONDS, receive_frame, send_frame
from modcore.errors import EngineBusy, EngineClosed, MissingExtra, ServiceError

_START_SECONDS = 30.0  # Python and llguidance, on a machine that is busy


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """What compiling one grammar may take: seconds of processor time, and bytes."""

    cpu_seconds: float = 0.028  # seven ticks of a kernel at 250 Hz, which looks once a tick
    memory: int = 96 << 20

    def __str__(self) -> str:
        return f"{self.cpu_seconds * 1e3:g} ms of processor time or {self.memory >> 20} MiB"


class Trials:
    """Tries grammars one process each; safe from any thread.

    The processes are forked by a small helper process, which is started when it is first needed, replaced
    when it has died, and ends with this object, with `close`, and with this process however that ends.
    """

    def __init__(self, limits: TrialLimits = TrialLimits()) -> None:
        self.limits = limits
        self._helper: _Helper | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the helper ahead of the first trial, where that needs one. Does not wait for it."""
        if hasattr(os, "fork"):
            self._running()

    def problem_of(self, grammar: str) -> str:
        """Why `grammar`, in llguidance's form, cannot be compiled or followed; empty when it can.

        Raises EngineBusy when the machine has no time for it, which says nothing about the grammar,
        EngineClosed after `close`, ServiceError when the helper cannot be started.
        """
        if not hasattr(os, "fork"):
            return self.try_alone(grammar)
        for _ in range(2):
            helper = self._running()
            with contextlib.suppress(_HelperDied), helper.connection() as connection:
                return self._try(connection, grammar)
            helper.stop()
        raise ServiceError(
            "The process that tries json_schema and regex ends as soon as it has started; "
            f"see what {sys.executable} -c 'import llguidance' says."
        )

    def try_alone(self, grammar: str) -> str:
        """As `problem_of`, in a process started for it alone: slower, but it needs no fork."""
        try:
            done = subprocess.run(
                _command("alone"),
                input=grammar.encode(),
                capture_output=True,
                timeout=2 * WALL_SECONDS,
                check=True,
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return _too_much(f"{WALL_SECONDS:g} seconds")
        return done.stdout.decode()

    def close(self) -> None:
        """End the helper, and try nothing new; harmless when it is closed."""
        with self._lock:
            self._is_closed = True
            if self._helper:
                self._helper.stop()

    def _running(self) -> _Helper:
        with self._lock:
            if self._is_closed:
                raise EngineClosed("The engine has been closed.")
            if self._helper is None or not self._helper.is_alive:
                self._helper = _Helper(self.limits)
            return self._helper

    def _try(self, connection: socket.socket, grammar: str) -> str:
        try:
            connection.settimeout(_START_SECONDS)
            if connection.recv(1) != BEGUN:
                raise _HelperDied
            connection.settimeout(WALL_SECONDS)
            send_frame(connection, grammar)
            return receive_frame(connection)
        except TimeoutError:
            raise EngineBusy(
                "The machine is too busy to compile json_schema or regex; try again later."
            ) from None
        except (EOFError, ConnectionError):
            return _too_much(str(self.limits))


def _too_much(limits: str) -> str:
    return (
        f"that takes more than {limits}, because patterns, a multipleOf or an allOf multiply where they "
        "hold for the same value, or long ones add up; leave some out"
    )


class _HelperDied(Exception):
    """The helper has ended before it forked."""


class _Helper:
    """The helper process, and the socket over which it is handed others."""

    def __init__(self, limits: TrialLimits) -> None:
        self._control, theirs = socket.socketpair()
        command = _command(str(os.getpid()), str(limits.cpu_seconds), str(limits.memory))
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except OSError as error:
                self._control.close()
                raise ServiceError(
                    f"The process that tries json_schema and regex cannot be started: {error}."
                ) from error
        self.stop = weakref.finalize(self, _stop, self._process, self._control)

    @property
    def is_alive(self) -> bool:
        """Whether it can be handed a socket."""
        return self.stop.alive and self._process.poll() is None

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A connection to a new fork; raises _HelperDied."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                try:
                    socket.send_fds(self._control, [b"-"], [theirs.fileno()])
                except OSError as error:
                    raise _HelperDied from error
            yield ours


def _stop(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()  # which ends it
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(*words: str) -> list[str]:
    found = importlib.util.find_spec("llguidance")
    if found is None or found.origin is None:
        raise MissingExtra(
            "json_schema and regex need llguidance, which is not installed; "
            "try: pip install 'modcore[engine]'"
        )
    packages = str(Path(found.origin).parents[1])
    # Without `site`: twice as quick, and of all that is installed only what is asked for.
    return [sys.executable, "-S", "-P", trial_process.__file__, packages, *words]
