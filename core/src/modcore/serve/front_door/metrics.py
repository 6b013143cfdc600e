"""``GET /metrics`` of the front door, for Prometheus; labels are names of services and models that are registered.

A name that nobody has borne for an hour is dropped: where names are generated, there is no end of them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from modcore.gateway.directory import Directory
from modcore.serve.front_door.load import Load

_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_KEPT_SECONDS = 3600.0  # every scraper has come by meanwhile
_now = time.monotonic


class Metrics:
    """The metrics of one front door; times are in seconds."""

    def __init__(self, directory: Directory, load: Load) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(directory, load))
        self._requests = Counter(
            "modcore_front_door_requests",
            "Calls by service (or model) and status; 499: the client went first.",
            ("service", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "modcore_front_door_request_seconds",
            "From a call's headers to the last byte of its answer.",
            ("service",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._retries = Counter(
            "modcore_front_door_retries",
            "Calls made at another instance, by why: refused, busy, died.",
            ("service", "reason"),
            registry=self._registry,
        )
        self._refused = Counter(
            "modcore_front_door_refused",
            "Requests that the front door refused before they had a service, by status.",
            ("status",),
            registry=self._registry,
        )
        self._evictions = Counter(
            "modcore_registry_evictions",
            "Instances that are registered no more.",
            ("service",),
            registry=self._registry,
        )
        # By name, then by metric and other labels: prometheus_client looks them up slowly.
        self._children: dict[str, dict[tuple[Any, ...], Any]] = {}
        self._absent: dict[str, float] = {}  # names that nobody bears, and since when

    def observe(self, name: str, status: int, seconds: float) -> None:
        """A call of `name` has ended."""
        self._child(self._requests, name, str(status)).inc()
        self._child(self._seconds, name).observe(seconds)

    def count_refusal(self, status: int) -> None:
        """A request is refused that is for no service."""
        self._refused.labels(str(status)).inc()

    def count_retry(self, name: str, reason: str) -> None:
        """A call of `name` is made at another instance."""
        self._child(self._retries, name, reason).inc()

    def count_eviction(self, name: str) -> None:
        """An instance of the service `name` is registered no more."""
        self._child(self._evictions, name).inc()

    def keep(self, names: Collection[str]) -> None:
        """Only `names` are borne now; those that have not been for an hour are dropped."""
        now = _now()
        absent = self._children.keys() - set(names)
        self._absent = {name: self._absent.get(name, now) for name in absent}
        for name, since in self._absent.items():
            if now - since >= _KEPT_SECONDS:
                for metric, *others in self._children.pop(name):
                    metric.remove(name, *others)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """The metrics as the header `accept` wants them, and their content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _child(self, metric: Any, name: str, *others: str) -> Any:
        children = self._children.setdefault(name, {})
        if (child := children.get((metric, *others))) is None:
            child = children[(metric, *others)] = metric.labels(name, *others)
        return child


class _Collector(Collector):
    """Reads what the directory knows, once for each scrape."""

    def __init__(self, directory: Directory, load: Load) -> None:
        self._directory, self._load = directory, load

    def collect(self) -> Iterator[Metric]:
        """The numbers at this moment."""
        yield GaugeMetricFamily(
            "modcore_registry_stale_seconds",
            "Seconds since the registry was last read; it is used as it was then.",
            value=self._directory.age,
        )
        refused = CounterMetricFamily(
            "modcore_registry_refused_documents",
            "Documents in the registry that were ignored: forged, malformed, of a foreign network.",
        )
        refused.add_metric((), self._directory.refused)
        yield refused
        instances = GaugeMetricFamily(
            "modcore_registry_instances", "Instances that are registered.", labels=("service",)
        )
        for name in self._directory.services():
            instances.add_metric((name,), len(self._directory.instances(name)))
        yield instances
        in_flight = GaugeMetricFamily(
            "modcore_front_door_in_flight", "Calls under way.", labels=("service",)
        )
        for name, count in list(self._load.by_name.items()):
            in_flight.add_metric((name,), count)
        yield in_flight
