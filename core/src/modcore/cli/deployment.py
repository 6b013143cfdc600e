"""The instances of one deployment: started at once, watched, ended at once; their record is kept true."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from dataclasses import replace

from modcore.deploy.plan import DeploymentPlan
from modcore.deploy.process_identity import ProcessIdentity
from modcore.deploy.service_records import (
    InstanceRecord,
    ServiceRecord,
    forget,
    token_path,
)
from modcore.errors import ServiceError
from modcore.gateway.addresses import shown
from modcore.module.at_once import AtOnce, all_ended
from modcore.plugins import Service, ServiceSpec, plugin_manager
from modcore.state_directory import write_private

_LOOK_SECONDS = 0.1

#: Told of each change of an instance.
Listener = Callable[[InstanceRecord], None]


class Deployment:
    """What `plan` asks for, looked after by this process; `tell` is told of each instance's changes."""

    def __init__(self, plan: DeploymentPlan, tell: Listener, *, is_detached: bool) -> None:
        self._plan, self._tell = plan, tell
        self._services: dict[int, Service] = {}
        self._codes: dict[int, int] = {}  # of those that have ended for good
        supervisor = ProcessIdentity.of(os.getpid())
        assert supervisor is not None
        self._record = ServiceRecord(
            name=plan.name,
            entry=plan.entry,
            launcher=plan.launcher,
            gateway=shown(plan.gateway) if plan.gateway else "",
            supervisor=supervisor,
            started=time.time(),
            is_detached=is_detached,
            instances=tuple(
                InstanceRecord(replica=spec.replica, id=plan.ids[spec.replica])
                for spec in plan.specs()
            ),
        )

    def start(self) -> None:
        """Start all at once; when one fails, end the others, and raise ServiceError, which names it."""
        if not self._plan.gateway:
            write_private(token_path(self._plan.name), self._plan.token)
        self._record.write()
        starting = AtOnce("replicas")
        for spec in self._plan.specs():
            starting.start(f"starting {_label(spec)}", functools.partial(self._start, spec))
        try:
            starting.wait()
            self.look()
        except ExceptionGroup as several:
            raise ServiceError("\n".join(map(str, several.exceptions))) from several

    def watch(self) -> bool:
        """Wait until all have ended for good; whether they were meant to."""
        while len(self._codes) < len(self._services):
            self.look()
            time.sleep(_LOOK_SECONDS)
        return not any(self._codes.values())

    def stop(self, timeout: float) -> None:
        """End all at once, each within `timeout` seconds; what was meant to end is forgotten."""
        running = [replica for replica in list(self._services) if replica not in self._codes]
        all_ended([functools.partial(self._stop, replica, timeout) for replica in running])
        self.look()

    def close(self, *, is_wanted: bool) -> None:
        """Keep no record of an end that was wanted; of any other, it tells."""
        if is_wanted:
            forget(self._plan.name)

    def _start(self, spec: ServiceSpec) -> None:
        payload = self._plan.handover().to_bytes()
        try:
            service = plugin_manager().deploy(spec, {"secret_payload": payload})
        except Exception as error:
            raise ServiceError(f"{_label(spec)} could not be started: {error}") from error
        self._services[spec.replica] = service

    def _stop(self, replica: int, timeout: float) -> None:
        service = self._services[replica]
        code = service.stop(timeout)
        self._codes[replica] = 0
        plugin_manager().service_stopped(self._plan.specs()[replica], code)

    def look(self) -> None:
        """Bring the record up to date, and tell what is new."""
        for replica, service in list(self._services.items()):
            code = service.poll()
            if code is not None and replica not in self._codes:
                self._codes[replica] = code
                plugin_manager().service_stopped(self._plan.specs()[replica], code)
            self._note(_seen(self._record.instances[replica], service, self._codes.get(replica)))

    def _note(self, instance: InstanceRecord) -> None:
        before = self._record.instances
        if instance == before[instance.replica]:
            return
        instances = tuple(instance if each.replica == instance.replica else each for each in before)
        self._record = replace(self._record, instances=instances)
        with contextlib.suppress(ServiceError):  # a full disk costs the record, not the service
            self._record.write()
        self._tell(instance)


def _label(spec: ServiceSpec) -> str:
    return f"replica {spec.replica} of {spec.name}"


def _seen(before: InstanceRecord, service: Service, code: int | None) -> InstanceRecord:
    """What an instance is like now; a launcher may know more of it than every launcher has to."""
    url = service.url
    state = "ready" if url else "down"
    if code is not None:
        url, state = "", "failed" if code else "stopped"
    is_new = bool(url) and url != before.url
    return replace(
        before,
        state=state,
        url=url,
        pid=getattr(service, "pid", None),
        restarts=getattr(service, "restarts", 0),
        started=time.time() if is_new else before.started,
    )
