"""ServerModule: a module that runs in processes of its own, and is called as if it were here."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from typing import Any

from modcore.deploy.environment import INSTANCE
from modcore.deploy.handover import Handover
from modcore.errors import ServiceError
from modcore.flow.tree import drawn_once, make_repr
from modcore.gateway.addresses import absolute, verify_shared
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.instance import Instance
from modcore.gateway.settings import gateway_url
from modcore.module.action import ActionModule
from modcore.module.base import ModuleBase
from modcore.module.handing_over import pickled_for, receiver
from modcore.module.replicas import Replicas
from modcore.module.route import Route
from modcore.module.service_name import service_name
from modcore.module.state import ModuleState
from modcore.module.submodules import label_of
from modcore.module.whereabouts import Whereabouts
from modcore.plugins import ServiceSpec


class ServerModule(ModuleBase):
    """Runs `m` (a module, a flow or a callable) in child processes, and is called like `m`.

    `start()` (or `update()`) brings up `replicas` of it behind a token that only they and we know;
    `stop()` takes them down, and so does the end of this process. What it holds is trained and evaluated
    here, and deployed there: `setup` and deploy tasks run in the children. A ServerModule that another
    holds runs beside it, and is called by it.

    `gateway` is a URL, or None for what `modcore.configure` and ``MODCORE_GATEWAY`` say, or ``""`` for
    none: with one the service is found by its name, and all services of a tree start at once. Calls go to
    whichever replica has least to do, and elsewhere when one does not take them; a call that dies is made
    again only when the module is `idempotent`, so that twice is as good as once. `deadline` is what a call
    may take, in seconds. With `stream`, a call returns the pieces of a generator as they are made.
    `launcher` is an id in ``modcore.launchers``; a replica that dies is started again, `restarts` times in
    a row at most.
    """

    repr_type = "Server"
    deploys_elsewhere = True

    def __init__(
        self,
        m: Callable[..., Any],
        name: str | None = None,
        *,
        replicas: int = 1,
        gateway: str | None = None,
        launcher: str = "local",
        deadline: float | None = None,
        stream: bool = False,
        idempotent: bool = False,
        restarts: int = 5,
        return_trace: bool = False,
    ) -> None:
        super().__init__(name=name, return_trace=return_trace)
        _verify(replicas, restarts, deadline)
        self.module = m if isinstance(m, ModuleBase) else ActionModule(m)
        self.replicas, self.restarts = replicas, restarts
        self.gateway, self.launcher = gateway, launcher
        self.deadline, self.stream, self.idempotent = deadline, stream, idempotent
        self._service_name: str | None = None
        self._key = ""  # of its cluster, for a handle in a process of another gateway
        self._is_elsewhere = False  # this is a handle, and the processes are somebody else's
        self._fixed: tuple[Instance, ...] = ()  # where they are, for a handle without a gateway
        self._renew()

    def _renew(self) -> None:
        """What belongs to this process."""
        self._token = ""
        self._lock = threading.Lock()
        self._replicas: Replicas | None = None
        self._route: Route | None = None

    @property
    def url(self) -> str | None:
        """Where it runs, the first replica that is up; or None."""
        return next(iter(self.urls), None)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where its replicas run that are up now."""
        replicas = self._replicas
        return tuple(each.url for each in replicas.instances()) if replicas else ()

    @property
    def state(self) -> ModuleState:
        """What happened last; processes that have ended by themselves since are noticed here."""
        state, replicas = super().state, self._replicas
        if replicas is None or state.deploy not in ("done", "restarting"):
            return state
        failure = replicas.failure
        if replicas.has_ended:
            state.record("deploy", "failed" if failure else "stopped", failure)
            self._end()
        else:
            state.record("deploy", "done" if replicas.instances() else "restarting", failure)
        return state

    # Calling

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The call in a child process; raises ServiceError when none runs."""
        route = self._route or self._way()
        return (route.stream if self.stream else route.call)(args, kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """As a call, for asyncio; with `stream`, an async iterator of the pieces."""
        if self._extras is not None:
            return await super().acall(*args, **kwargs)
        route = self._route
        if route is None:
            route = await asyncio.to_thread(self._way)
        return route.astream(args, kwargs) if self.stream else await route.acall(args, kwargs)

    def _way(self) -> Route:
        """The way of a handle, made when it is first used; raises ServiceError for a service that does not run."""
        if not self._is_elsewhere:
            raise ServiceError(f"{self._label} is not running; start() it first.")
        with self._lock:
            if self._route is None:
                self._route = self._route_to(None)
            return self._route

    def _route_to(self, replicas: Replicas | None) -> Route:
        name, url = self._service_name, self._gateway_url
        if name is None or not url:
            where = Whereabouts(self._label, None, replicas, self._fixed)
            token = self._token
        else:
            from modcore.gateway.directory import shared_directory

            token = self._cluster_key.token
            directory = shared_directory(url)
            directory.start()
            where = Whereabouts(name, directory, replicas)
        return Route(
            name or self._label,
            where,
            token,
            seconds=self.deadline,
            idempotent=self.idempotent,
            is_hopeless=lambda: where.is_hopeless,
        )

    # Deploying

    def _address(self, path: str) -> tuple[str, str] | None:
        url = self._gateway_url
        if self._is_elsewhere or not url:
            return None
        verify_shared(url)
        if self._service_name is None or self.name is not None:
            self._service_name = service_name(self.name, path)
        return url, self._service_name

    def _get_deploy_tasks(self) -> Callable[[], Any] | None:
        return None if self._is_elsewhere else self._launch

    def stop(self) -> None:
        """End the child processes, and stop what is below."""
        self._end()
        super().stop()

    def wait(self) -> None:
        """Wait until the child processes have ended by themselves."""
        replicas = self._replicas
        if replicas is not None:
            replicas.wait()
            self._end()
            self.state.deploy = "stopped"
        super().wait()

    def _launch(self) -> None:
        self._end()  # after an update, what runs is the old one
        address = self._address(label_of(self))
        handover = self._handover(address[0] if address else "")
        replicas = Replicas(self._specs(), handover.to_bytes())
        with self._lock:
            unwanted, self._replicas = self._replicas, replicas
        if unwanted is not None:  # somebody else has started it at the same time
            unwanted.close()
        try:
            replicas.launch()
        except BaseException:
            self._forget(replicas)
            raise
        self._token = handover.token
        route = self._route_to(replicas)
        with self._lock:
            if self._replicas is replicas:
                self._route = route

    def _forget(self, replicas: Replicas) -> None:
        with self._lock:
            if self._replicas is replicas:
                self._replicas = None

    def _end(self) -> None:
        with self._lock:
            replicas, self._replicas = self._replicas, None
            route, self._route = self._route, None
        if route is not None:
            route.close()
        if replicas is not None:
            replicas.close()

    def _handover(self, gateway: str) -> Handover:
        module = pickled_for(gateway, self.module)
        if not gateway:
            return Handover(token=secrets.token_urlsafe(32), module=module)
        key = self._cluster_key
        return Handover(token=key.token, gateway=gateway, cluster_key=key.secret, module=module)

    def _specs(self) -> dict[str, ServiceSpec]:
        """One for each replica, under the id that it has in a gateway."""
        name = self._service_name or self.name or type(self.module).__name__
        options = [f"--name={name}", "--launcher", self.launcher]  # a name may begin with "-"
        options += ["--idempotent"] if self.idempotent else []
        specs = {}
        for replica in range(self.replicas):
            instance = secrets.token_hex(8)
            specs[instance] = ServiceSpec(
                name=name,
                command=("serve-module", *options),
                environment={INSTANCE: instance},
                launcher=self.launcher,
                replica=replica,
                restarts=self.restarts,
            )
        return specs

    @property
    def _gateway_url(self) -> str:
        """The gateway in use, ``""`` for none."""
        if self.gateway is None:
            return gateway_url() or ""
        return absolute(self.gateway) if self.gateway else ""

    @property
    def _cluster_key(self) -> ClusterKey:
        from modcore.gateway.secret import cluster_key, use_cluster_key

        if self._key:  # it came over the private pipe of our process
            use_cluster_key(self._gateway_url, self._key)
        return cluster_key(self._gateway_url)

    # Travelling

    def __getstate__(self) -> dict[str, Any]:
        # The processes stay ours; whoever gets the module may call it.
        state = super().__getstate__()
        for name in ("_lock", "_replicas", "_route", "_token"):
            del state[name]
        url, replicas, there = self._gateway_url, self._replicas, receiver.get()
        if not self._is_elsewhere and not replicas and (not url or there is None):
            return {
                **state,
                "_service_name": None,
            }  # a module like this one, which does not run yet
        state["_is_elsewhere"] = True
        if not url:
            fixed = replicas.instances() if replicas else self._fixed
            return {**state, "gateway": "", "_fixed": fixed, "_token": self._token}
        self._address(label_of(self))  # it may have no name yet
        state["_service_name"] = self._service_name
        if there == url:  # whoever is there has the key
            return {**state, "gateway": None}
        return {**state, "gateway": url, "_key": self._cluster_key.secret if there == "" else ""}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._renew()
        vars(self).update(state)

    # Showing

    @property
    def _label(self) -> str:
        return self.name or "this ServerModule"

    @drawn_once
    def __repr__(self) -> str:
        attributes = {"stream": self.stream, "return_trace": self.return_trace}
        return make_repr(
            "Module", "Server", name=self.name, attrs=attributes, subs=[repr(self.module)]
        )


def _verify(replicas: int, restarts: int, deadline: float | None) -> None:
    if type(replicas) is not int or replicas < 1:
        raise ValueError(f"replicas is {replicas!r}; it has to be a whole number from 1 on.")
    if type(restarts) is not int or restarts < 0:
        raise ValueError(f"restarts is {restarts!r}; it has to be a whole number from 0 on.")
    if deadline is not None and (type(deadline) not in (int, float) or not deadline > 0):
        raise ValueError(f"deadline is {deadline!r}; it has to be a number of seconds above 0.")
