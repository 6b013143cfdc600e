"""What the front door tells of itself: its health, the services, the models, the metrics."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from modcore._version import VERSION
from modcore.gateway.directory import Directory
from modcore.gateway.instance import Instance
from modcore.serve.front_door.metrics import Metrics
from modcore.serve.front_door.refusals import Refusal
from modcore.serve.front_door.request import Request
from modcore.serve.front_door.routes import Routes, unknown_model

_JSON = b"application/json"
_MODEL = "/v1/models/"
#: Without news from the store for longer than this, the front door says that it works from memory.
STALE_SECONDS = 5.0


class Page(NamedTuple):
    """An answer of our own."""

    status: int
    body: bytes
    content_type: bytes


class Pages:
    """The pages over `directory`; URLs of instances are shown only where `shows_urls` (there is a key)."""

    def __init__(
        self, directory: Directory, routes: Routes, metrics: Metrics, shows_urls: bool
    ) -> None:
        self._directory, self._routes, self._metrics = directory, routes, metrics
        self._shows_urls = shows_urls
        self.is_draining = False
        self._pages: dict[str, Callable[[Request], Page]] = {
            "/health": self._health,
            "/readyz": self._ready,
            "/metrics": self._expose,
            "/services": self._services,
            "/v1/models": self._models,
        }

    def page(self, request: Request) -> Page | None:
        """The page at the request's path; None when it asks for none. Raises Refusal for another method."""
        show = self._pages.get(request.path)
        if show is None and request.path.startswith(_MODEL):
            show = self._model
        if show is None:
            return None
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, f"{request.method} is not what this path takes; send a GET.")
        return show(request)

    def _health(self, _: Request) -> Page:
        return _page({"status": "ok"})

    def _ready(self, _: Request) -> Page:
        state = self._state()
        is_ready = state["status"] in ("ok", "degraded")
        return _page(state, 200 if is_ready else 503)

    def _expose(self, request: Request) -> Page:
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        content, content_type = self._metrics.expose(accept)
        return Page(200, content, content_type.encode())

    def _services(self, _: Request) -> Page:
        ejected, in_flight = self._routes.ejected(), self._routes.in_flight()

        def shown(each: Instance) -> dict[str, Any]:
            return self._instance(each, each.id in ejected, in_flight[each.id])

        services = [
            {"service": name, "instances": list(map(shown, instances))}
            for name, instances in self._directory.services().items()
        ]
        return _page({**self._state(), "services": services})

    def _state(self) -> dict[str, Any]:
        """How far what is known can be relied on; no age means that the store was never heard of."""
        age = self._directory.age
        status = "degraded" if self._directory.error is not None or age > STALE_SECONDS else "ok"
        if math.isinf(age):
            status = "starting"
        return {
            "status": "draining" if self.is_draining else status,
            "snapshot_age": None if math.isinf(age) else round(age, 3),
            "refused_documents": self._directory.refused,
            "version": VERSION,
        }

    def _instance(self, instance: Instance, ejected: bool, in_flight: int) -> dict[str, Any]:
        state = "draining" if instance.draining else "ejected" if ejected else "ready"
        shown = {
            "id": instance.id,
            "state": state,
            "ejected": ejected,
            "in_flight": in_flight,
            "capacity": instance.capacity,
            "age": round(max(0.0, time.time() - instance.started_at), 3),
            "models": instance.models,
            "module": instance.module,
            "launcher": instance.launcher,
            "version": instance.version,
        }
        return {**shown, "url": instance.url} if self._shows_urls else shown

    def _models(self, _: Request) -> Page:
        models = [_model(name, first) for name, first in sorted(self._routes.models().items())]
        return _page({"object": "list", "data": models})

    def _model(self, request: Request) -> Page:
        name = request.path.removeprefix(_MODEL)
        models = self._routes.models()
        if name not in models:
            raise unknown_model(name, models)
        return _page(_model(name, models[name]))


def _model(name: str, instance: Instance) -> dict[str, Any]:
    created = int(instance.started_at)
    return {"id": name, "object": "model", "created": created, "owned_by": "modcore"}


def _page(content: dict[str, Any], status: int = 200) -> Page:
    return Page(status, json.dumps(content).encode(), _JSON)
