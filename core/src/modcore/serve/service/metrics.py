"""``GET /metrics`` of a service for Prometheus: calls, how long they took, how many run, how many were refused."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from modcore.serve.service.state import BUCKETS, Seconds, ServiceState


def expose(
    state: ServiceState, service: str, accept: str, others: Collector | None = None
) -> tuple[bytes, str]:
    """The metrics, those of `others` behind them, as the header `accept` wants them, and their content type."""
    registry = CollectorRegistry()
    registry.register(_StateCollector(state, service))
    if others is not None:
        registry.register(others)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _StateCollector(Collector):
    def __init__(self, state: ServiceState, service: str) -> None:
        self._state, self._service = state, service

    def collect(self) -> Iterator[Metric]:
        state, service = self._state, self._service
        calls = CounterMetricFamily(
            "modcore:calls",
            "Calls that have ended, by kind and outcome.",
            labels=["service", "kind", "outcome"],
        )
        for (kind, outcome), count in list(state.ended.items()):
            calls.add_metric([service, kind, outcome], count)
        yield calls
        refused = CounterMetricFamily(
            "modcore:calls_refused", "Calls that were not begun.", labels=["service", "reason"]
        )
        for reason, count in list(state.refused.items()):
            refused.add_metric([service, reason], count)
        yield refused
        seconds = HistogramMetricFamily(
            "modcore:call_seconds",
            "From a call to the end of its answer.",
            labels=["service", "kind"],
        )
        for kind, observed in list(state.seconds.items()):
            seconds.add_metric([service, kind], _buckets(observed), observed.total)
        yield seconds
        yield self._gauge("calls_in_flight", "Calls that run.", state.in_flight)
        yield self._gauge("calls_capacity", "Calls that may run at once.", state.capacity)
        yield self._gauge("draining", "Whether it takes no calls any more.", state.is_draining)

    def _gauge(self, name: str, meaning: str, value: float) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(f"modcore:{name}", meaning, labels=["service"])
        gauge.add_metric([self._service], value)
        return gauge


def _buckets(seconds: Seconds) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for limit, count in zip((*map(str, BUCKETS), "+Inf"), seconds.counts, strict=True):
        total += count
        buckets.append((limit, float(total)))
    return buckets
