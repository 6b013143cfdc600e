"""ServerModule: a module in a process of its own; UrlModule: one that runs elsewhere already."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

from modcore.deploy.handover import Handover
from modcore.errors import MissingExtra, ServiceError
from modcore.flow.tree import drawn_once, make_repr
from modcore.module.action import ActionModule
from modcore.module.base import ModuleBase
from modcore.module.remote import RemoteModule
from modcore.module.state import ModuleState
from modcore.plugins import Service, ServiceSpec, plugin_manager


class UrlModule(ModuleBase):
    """A module service at `url`, called like the module that it serves.

    With `stream`, a call returns the pieces as they are made. `token` is the service's, `timeout` in
    seconds; without one a call waits as long as it takes.
    """

    repr_type = "Url"

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        stream: bool = False,
        token: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(name=name)
        self.url, self.stream = url, stream
        self._remote = RemoteModule(url, token, timeout)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The remote call."""
        return (self._remote.stream if self.stream else self._remote.call)(args, kwargs)

    def __repr__(self) -> str:
        return make_repr(
            "Module", "Url", name=self.name, attrs={"url": self.url, "stream": self.stream}
        )


class ServerModule(ModuleBase):
    """Runs `m` (a module, a flow or a callable) in a child process, and is called like `m`.

    `start()` (or `update()`) brings it up on this machine's loopback, behind a token that only the
    two processes know; `stop()` takes it down, and so does the end of this process. What it holds is
    trained and evaluated here, and deployed there: `setup` and deploy tasks run in the child. A
    ServerModule that another holds runs beside it, and is called by it. With `stream`, a call returns
    the pieces of a generator as they are made. `launcher` is an id in ``modcore.launchers``.
    """

    repr_type = "Server"
    deploys_elsewhere = True

    def __init__(
        self,
        m: Callable[..., Any],
        name: str | None = None,
        *,
        launcher: str = "local",
        stream: bool = False,
        return_trace: bool = False,
    ) -> None:
        super().__init__(name=name, return_trace=return_trace)
        self.module = m if isinstance(m, ModuleBase) else ActionModule(m)
        self.launcher, self.stream = launcher, stream
        self._service: Service | None = None
        self._remote: RemoteModule | None = None
        self._lock = threading.Lock()
        self._is_elsewhere = False  # this is a copy, and its process somebody else's
        self._launches = 0  # what has been begun or ended since makes an unfinished launch void

    @property
    def url(self) -> str | None:
        """Where it runs, or None."""
        return self._service.url if self._service else None

    @property
    def state(self) -> ModuleState:
        """What happened last; a process that has ended by itself since is noticed here."""
        state, service = super().state, self._service
        code = service.poll() if service is not None else None
        if code is not None and state.deploy == "done":
            ended = ServiceError(f"the process of {self._label} ended with exit code {code}.")
            state.record("deploy", "failed" if code else "stopped", ended if code else None)
            self._end()
        return state

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The call in the child process; raises ServiceError when it does not run."""
        remote = self._remote
        if remote is None:
            raise ServiceError(f"{self._label} is not running; start() it first.")
        return (remote.stream if self.stream else remote.call)(args, kwargs)

    def _get_deploy_tasks(self) -> Callable[[], Any] | None:
        return None if self._is_elsewhere else self._launch

    def stop(self) -> None:
        """End the child process, and stop what is below."""
        self._end()
        super().stop()

    def wait(self) -> None:
        """Wait until the child process has ended by itself."""
        service = self._service
        if service is not None:
            service.wait()
            self._end()
            self.state.deploy = "stopped"
        super().wait()

    def _launch(self) -> None:
        self._end()  # after an update, what runs is the old one
        with self._lock:
            self._launches += 1
            launch = self._launches
        token = secrets.token_urlsafe(32)
        payload = Handover(token=token, module=_pickled(self.module)).to_bytes()
        service = plugin_manager().deploy(self._spec(), {"secret_payload": payload})
        with self._lock:
            unwanted: Service | None = service  # if somebody has stopped or started it again since
            if launch == self._launches:
                unwanted, self._service = self._service, service
                self._remote = RemoteModule(service.url, token)
        if unwanted is not None:
            plugin_manager().service_stopped(self._spec(), unwanted.stop())

    def _end(self) -> None:
        with self._lock:
            self._launches += 1
            service, self._service, self._remote = self._service, None, None
        if service is not None:
            plugin_manager().service_stopped(self._spec(), service.stop())

    def __getstate__(self) -> dict[str, Any]:
        # The process stays ours; whoever gets the module may call it.
        state = {**super().__getstate__(), "_service": None, "_is_elsewhere": bool(self._remote)}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @property
    def _label(self) -> str:
        return self.name or "this ServerModule"

    def _spec(self) -> ServiceSpec:
        return ServiceSpec(
            name=self.name or type(self.module).__name__,
            command=("serve-module",),
            launcher=self.launcher,
        )

    @drawn_once
    def __repr__(self) -> str:
        attributes = {"stream": self.stream, "return_trace": self.return_trace}
        return make_repr(
            "Module", "Server", name=self.name, attrs=attributes, subs=[repr(self.module)]
        )


def _pickled(module: ModuleBase) -> bytes:
    """`module` for the child's private pipe: by reference where it can be imported, else by value."""
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "ServerModule needs cloudpickle, which is not installed; try: pip install 'modcore[serve]'"
        ) from error
    try:
        return bytes(cloudpickle.dumps(module))
    except Exception as error:  # an object may raise anything when it is pickled
        raise TypeError(
            f"{type(module).__name__} cannot be sent to its process ({type(error).__name__}: {error}): an "
            "attribute or a captured variable of it holds something that belongs to this process, such "
            "as a lock, a socket or an open file; make it when it is first used instead."
        ) from error
