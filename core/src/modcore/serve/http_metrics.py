"""Every HTTP request counted and timed, what the guard refuses included.

The names and labels are those of prometheus-fastapi-instrumentator, which vLLM uses; `handler` is a route's path, never
what a caller made up.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_HUNG_UP = 499  # nginx's, for a caller who went before there was an answer
_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_MODEL = "/v1/models/{model}"
PATHS = frozenset(
    {
        "/health",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/models",
        "/v1/completions",
        "/v1/chat/completions",
    }
)


class HttpMetrics:
    """ASGI middleware around everything else; a stream's time runs until its last byte is sent."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self._requests = Counter(
            "http_requests",
            "HTTP requests, by route and status.",
            ("handler", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "From a request's headers to the end of its answer.",
            ("handler", "method", "status"),
            buckets=_BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = _HUNG_UP

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        except Exception:
            status = 500
            raise
        finally:
            labels = (_handler(scope["path"]), _method(scope["method"]), str(status))
            self._requests.labels(*labels).inc()
            self._seconds.labels(*labels).observe(time.monotonic() - started)


def _handler(path: str) -> str:
    if path in PATHS:
        return path
    return _MODEL if path.startswith("/v1/models/") else _OTHER


def _method(method: str) -> str:
    return method if method in _METHODS else _OTHER
