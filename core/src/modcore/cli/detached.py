"""Leaving a supervisor behind: a process in a session of its own, told its plan over a private pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from modcore.deploy.environment import child_environment
from modcore.deploy.payload import Payload
from modcore.errors import ServiceError

if TYPE_CHECKING:
    from modcore.cli.supervise import Report
    from modcore.deploy.plan import DeploymentPlan


def detach(plan: DeploymentPlan, report: Report) -> int:
    """Deploy `plan` under a supervisor that stays; returns once it is ready.

    Raises ServiceError with the cause when it does not become ready; nothing is left behind then.
    """
    with Payload(plan.to_bytes()) as payload:
        supervisor = subprocess.Popen(
            [sys.executable, "-P", "-m", "modcore", "supervise"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**child_environment({}), **payload.environment},
            pass_fds=payload.descriptors,
            start_new_session=True,
        )
        payload.send()
    try:
        _follow(supervisor, report)
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise
    return 0


def _follow(supervisor: subprocess.Popen[str], report: Report) -> None:
    assert supervisor.stdout
    for line in supervisor.stdout:
        event = json.loads(line)
        kind = event.pop("event")
        event.pop("name")
        if kind == "refused":
            raise ServiceError(event["message"])
        report.event(kind, **event)
        if kind == "deployed":
            return
    code = supervisor.wait()
    if not code:
        raise ServiceError("somebody has stopped the service before it was ready.")
    raise ServiceError(f"the supervisor ended with exit code {code}.")
