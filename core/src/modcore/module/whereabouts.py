"""Where the instances of a service are: what a gateway lists, and what a launcher of ours knows first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modcore.gateway.forks import renew_after_fork
from modcore.gateway.instance import Instance
from modcore.module.replicas import Replicas

if TYPE_CHECKING:
    from modcore.gateway.directory import Directory

_Instances = tuple[Instance, ...]


class Whereabouts:
    """The instances of `service` in `directory` and our own `replicas`, of which we hear first.

    Without either they are where they were (`fixed`). So calls are answered when the gateway's store is down, and go nowhere where one of ours has just died.
    """

    def __init__(
        self,
        service: str,
        directory: Directory | None,
        replicas: Replicas | None,
        fixed: tuple[Instance, ...] = (),
    ) -> None:
        self._service, self._directory, self._replicas = service, directory, replicas
        self._fixed = fixed
        self._seen: tuple[_Instances, _Instances, _Instances] = (), (), fixed
        renew_after_fork(self)

    def __call__(self) -> tuple[Instance, ...]:
        """All of them; the same tuple as long as nothing changes."""
        listed = self._directory.instances(self._service) if self._directory else ()
        own = self._replicas.instances() if self._replicas else ()
        seen_listed, seen_own, everybody = self._seen
        if listed is not seen_listed or own is not seen_own:
            ours = self._replicas.ids if self._replicas else ()
            others = tuple(each for each in listed if each.id not in ours)
            everybody = self._fixed + own + others
            self._seen = listed, own, everybody  # at once: other threads are here too
        return everybody

    @property
    def is_hopeless(self) -> bool:
        """Whether nobody will come (back) whom we could hear of."""
        if self._replicas is None:
            return self._directory is None
        return self._replicas.has_ended and not self()

    def after_fork(self) -> None:
        """Our launcher looks after them in the parent: what moves is heard of from the gateway alone."""
        if self._directory is not None:
            self._replicas, self._seen = None, ((), (), self._fixed)
