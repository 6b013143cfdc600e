"""The `local` launcher: a service as a child process on this machine's loopback, started again when it dies.

The child gets the same plugins as its parent, and ends when its parent does.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace

from modcore.deploy.child import Child
from modcore.deploy.environment import LOG_FILE
from modcore.deploy.handover import secrets_in
from modcore.deploy.log_files import LogFile, log_path, open_log, without_secrets
from modcore.deploy.supervision import SupervisedService
from modcore.errors import ServiceError
from modcore.plugins.records import ServiceSpec


class LocalLauncher:
    """Starts services as children of this process; may be used from several threads.

    `secret_payload` are bytes for the child alone, over a pipe of its own: a `Handover`. What a child
    says goes to its log file and, behind its name, to our stderr.
    """

    def __init__(self, secret_payload: bytes | None = None) -> None:
        self._payload = secret_payload

    def launch(self, spec: ServiceSpec) -> SupervisedService:
        """Start `spec` and return it when it is ready; raises ServiceError with the child's words."""
        output = _Output(spec, self._payload)
        placed = output.told_to_child(spec)
        service = SupervisedService(
            spec, lambda: Child(placed, self._payload, output.hear), output.hear, output.close
        )
        try:
            service.start()
            service.wait_until_ready()
        except BaseException:
            service.stop(timeout=0.0)
            raise
        return service


class _Output:
    """Where the words of one service's processes go."""

    def __init__(self, spec: ServiceSpec, payload: bytes | None) -> None:
        self._name = spec.name
        self._secrets = secrets_in(payload)
        self._log: LogFile | None = None
        try:
            self._log = open_log(log_path(spec.name, spec.replica), self._secrets)
        except ServiceError as error:  # a service without a log file is better than none
            self._show(f"its output is not kept: {error}")

    def told_to_child(self, spec: ServiceSpec) -> ServiceSpec:
        """`spec`, with the place of the log file."""
        if self._log is None:
            return spec
        environment = {**spec.environment, LOG_FILE: str(self._log.path)}
        return replace(spec, environment=environment)

    def hear(self, line: str) -> str:
        """Take one line; returns it without secrets, as it is shown."""
        told = self._log.write(line) if self._log else without_secrets(line, self._secrets)
        self._show(told)
        return told

    def close(self) -> None:
        """Nothing more is said."""
        if self._log is not None:
            self._log.close()

    def _show(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a program may have no stderr any more
            print(f"{self._name}: {line}", file=sys.stderr, flush=True)
