"""Looking after a deployment: in ``modcore deploy`` itself, or as ``modcore supervise``, which that leaves behind.

``supervise`` is not for people: its plan comes over a private pipe, and it prints events as JSON until
the service is ready.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modcore.deploy.parent import read_payload
from modcore.errors import InvalidRequest, ModcoreError
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.deploy.plan import DeploymentPlan
    from modcore.deploy.service_records import InstanceRecord

#: What the instances get to end in once they are told to; their running calls get `serve.server.GRACEFUL_SECONDS` of it.
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
    from modcore.cli.deployment import Deployment
    from modcore.deploy.service_records import claim

    deployment = Deployment(plan, report.instance, is_detached=is_detached)
    signals = _Signals(at_once=lambda: deployment.stop(0.0))
    with claim(plan.name), signals:
        is_wanted = True
        try:
            deployment.start()
            on_ready()
            is_wanted = deployment.watch()
        except KeyboardInterrupt:
            report.event("stopping")
        finally:
            signals.raises = False
            deployment.stop(DRAIN_SECONDS)
            deployment.close(is_wanted=is_wanted)
    return 0 if is_wanted else 1


class _Signals:
    """SIGTERM and Ctrl-C: the first interrupts what we do, another has `at_once` called in a thread."""

    def __init__(self, at_once: Callable[[], None]) -> None:
        self.raises = True
        self._at_once = at_once
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._come)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _come(self, *_: object) -> None:
        if self.raises:
            self.raises = False
            raise KeyboardInterrupt
        threading.Thread(target=self._at_once, daemon=True).start()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> int:
    """Supervise what the pipe says."""
    from modcore.deploy.log_files import log_path, open_log
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
    except Exception as error:  # by now nobody may read what we print
        open_log(log_path(plan.name, 0)).write(f"(the supervisor has failed: {error!r})")
        raise


def _let_go() -> None:
    """Whoever has started us is not told anything more: what there is to say stands in the logs."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)


COMMAND = Command("supervise", "Look after a deployment.", add_arguments, run)
