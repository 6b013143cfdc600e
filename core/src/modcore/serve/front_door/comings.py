"""Instances that come and go: a line each for whoever watches the front door, and what hangs on them tidied up."""

from __future__ import annotations

from collections.abc import Callable

from modcore.gateway.instance import Instance
from modcore.serve.front_door.metrics import Metrics
from modcore.serve.front_door.routes import Routes


class Comings:
    """Compares what `routes` knows with what it knew; `say` gets a line for each difference."""

    def __init__(self, routes: Routes, metrics: Metrics, say: Callable[[str], None]) -> None:
        self._routes, self._metrics, self._say = routes, metrics, say
        self._known: dict[str, Instance] = {}

    def notice(self) -> dict[str, Instance]:
        """Tell what has changed since the last time; returns who is there now, by id."""
        now, before = self._routes.instances(), self._known
        self._known = now
        for name, instance in now.items():
            earlier = before.get(name)
            if earlier is None or earlier.epoch != instance.epoch:
                self._say(f"up: {_told(instance)}")
            elif instance.draining and not earlier.draining:
                self._say(f"draining: {_told(instance)}")
        for name, instance in before.items():
            if name not in now:
                self._metrics.count_eviction(instance.service)
                self._say(f"gone: {_told(instance)}")
        names = {name for each in now.values() for name in (each.service, *each.models)}
        self._metrics.keep(names)
        return now


def _told(instance: Instance) -> str:
    models = f" ({', '.join(instance.models)})" if instance.models else ""
    return f"{instance.service} {instance.id} at {instance.url}{models}"
