"""Looking after a deployment: in ``modcore deploy`` itself, or as ``modcore supervise``, which that leaves behind.

``supervise`` is not for people: its plan comes over a private pipe, and it prints events as JSON until
the service is ready.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from modcore.deploy.parent import read_payload
from modcore.errors import InvalidRequest, ModcoreError
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.deploy.plan import DeploymentPlan
    from modcore.deploy.service_records import InstanceRecord

#: What running calls get to finish once the service is told to end.
DRAIN_SECONDS = 30.0


class Report:
    """Tells people, or whoever reads JSON, what becomes of a deployment."""

    def __init__(self, name: str, *, as_json: bool) -> None:
        self._name, self._as_json = name, as_json

    def instance(self, instance: InstanceRecord) -> None:
        """An instance has changed."""
        self.event(instance.state, replica=instance.replica, url=instance.url)

    def event(self, event: str, **values: Any) -> None:
        """Print one line."""
        if self._as_json:
            print(json.dumps({"event": event, "name": self._name, **values}), flush=True)
            return
        replica = f"-{values['replica']}" if "replica" in values else ""
        print(f"{self._name}{replica}: {event} {values.get('url', '')}".rstrip(), flush=True)


def supervise(
    plan: DeploymentPlan,
    report: Report,
    on_ready: Callable[[], None] = lambda: None,
    *,
    is_detached: bool = False,
) -> int:
    """Start what is planned and look after it until it ends, or SIGTERM or SIGINT comes; the exit code.

    A second signal, while it drains, ends it at once.
    """
    from modcore.cli.replicas import Replicas
    from modcore.deploy.service_records import claim

    with claim(plan.name), _signals_interrupt():
        replicas = Replicas(plan, report.instance, is_detached=is_detached)
        is_wanted = True
        try:
            replicas.start()
            on_ready()
            is_wanted = replicas.watch()
        except KeyboardInterrupt:
            report.event("stopping")
        finally:
            try:
                replicas.stop(DRAIN_SECONDS)
            except KeyboardInterrupt:
                replicas.stop(0.0)
            replicas.close(is_wanted=is_wanted)
    return 0 if is_wanted else 1


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, wherever we are."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> int:
    """Supervise what the pipe says."""
    from modcore.deploy.plan import DeploymentPlan

    del args  # there are none
    payload = read_payload()
    if payload is None:
        raise InvalidRequest("this command is what `modcore deploy --detach` leaves behind.")
    plan = DeploymentPlan.from_bytes(payload)
    report = Report(plan.name, as_json=True)

    def on_ready() -> None:
        report.event("deployed")
        _let_go()

    try:
        return supervise(plan, report, on_ready, is_detached=True)
    except ModcoreError as error:
        report.event("refused", message=str(error))
        return 1


def _let_go() -> None:
    """Whoever has started us is not told anything more: what there is to say stands in the logs."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)


COMMAND = Command("supervise", "Look after a deployment.", add_arguments, run)
