"""What runs on a node of Ray: an actor that starts the very child which the local launcher starts, and stays with it.

Ray restarts the actor when its process dies, elsewhere if need be; the actor starts the child again
when that dies. The child ends with the actor's process.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from modcore.deploy.local import LocalLauncher
from modcore.deploy.log_files import last_lines, log_path
from modcore.deploy.supervision import FIRST_PAUSE, LONGEST_PAUSE
from modcore.plugins import Service, ServiceSpec
from modcore_ray.listening import on_reachable_address

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
#: How long one whose service has ended can still be asked for the exit code; its resources are free then.
_LAST_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What an actor tells of its service; `code` is the exit code of one that has ended for good.

    `failure` is why it has never been ready, `restarts` how often this actor has started its process
    again; `actor` is the name of the actor's own process, another one after Ray has started it again.
    """

    url: str = ""
    code: int | None = None
    failure: str = ""
    pid: int | None = None
    restarts: int = 0
    node: str = ""
    actor: str = ""


class ServiceActor:
    """Runs the service of `spec` (JSON); `payload` is its handover, `owner` whoever has placed it (JSON).

    What its methods take and return are words, numbers and dicts of them: nothing is pickled.
    """

    def __init__(self, spec: str, payload: bytes | None, owner: str) -> None:
        self._owner = owner
        self._payload = payload
        self._node = _node()
        self._spec = on_node(ServiceSpec.from_json(json.loads(spec)), self._node)
        self._service: Service | None = None
        self._state = State(node=self._node, actor=_worker())
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="service", daemon=True).start()

    def changed(self, known: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The state, as soon as it is another than `known`, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: asdict(self._state) != known, timeout)
            return asdict(self._state)

    def owner(self) -> str:
        """Who has placed it."""
        return self._owner

    def logs(self, count: int) -> list[str]:
        """The last lines of its log."""
        return last_lines(log_path(self._spec.name, self._spec.replica), count)

    def stop(self, timeout: float) -> bool:
        """End the service within `timeout` seconds; false when it has not got going yet."""
        if self._service is None:
            return False
        self._service.stop(timeout)
        return True

    # In the thread

    def _run(self) -> None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the log file has all of it; Ray's would grow
        try:
            self._service = self._launched()
            code = self._follow(self._service)
            self._say(replace(self._state, url="", code=code))
        except Exception as error:  # whoever waits is told, whatever it is
            self._say(replace(self._state, url="", code=1, failure=_told(error)))
        time.sleep(_LAST_SECONDS)
        _end_for_good()

    def _launched(self) -> Service:
        """The service, ready. One that has been ready on another node or before is tried again and again."""
        for attempt in itertools.count():
            try:
                return LocalLauncher(self._payload).launch(self._spec)
            except Exception as error:
                if not _was_restarted() or attempt >= self._spec.restarts:
                    raise
                _log.warning("%s did not start again: %s", self._spec.name, error)
            time.sleep(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE))
        raise AssertionError("unreachable")

    def _follow(self, service: Service) -> int:
        while service.poll() is None:
            self._say(
                replace(
                    self._state,
                    url=service.url,
                    pid=getattr(service, "pid", None),
                    restarts=getattr(service, "restarts", 0),
                )
            )
            time.sleep(_LOOK_SECONDS)
        return service.wait()

    def _say(self, state: State) -> None:
        with self._changed:
            if state != self._state:
                self._state = state
                self._changed.notify_all()


def on_node(spec: ServiceSpec, node: str) -> ServiceSpec:
    """`spec` for the local launcher on the node with the address `node`."""
    restarts = spec.restarts if spec.restarts >= 0 else sys.maxsize  # Ray's -1 has no end
    return on_reachable_address(replace(spec, restarts=restarts), node)


def _told(error: Exception) -> str:
    from modcore.errors import ModcoreError

    return str(error) if isinstance(error, ModcoreError) else f"{type(error).__name__}: {error}"


# What follows is Ray's part: its names are looked up in the actor's process alone.


def _node() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _worker() -> str:
    import ray

    return str(ray.get_runtime_context().get_worker_id())


def _was_restarted() -> bool:
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def _end_for_good() -> None:
    """End this actor's process, and let Ray not restart it."""
    import ray

    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
