"""``GET /metrics`` for Prometheus: vLLM's names under ``modcore:``, from a registry of the app's own.

What the engine knows is read when somebody asks; what a caller feels is observed as answers pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from modcore.engine import EngineStats
from modcore.engine.answers import FinishReason
from modcore.engine.multimodal import MediaStats
from modcore.engine.request import Moments

#: Why an answer ended: the engine's reasons, and ``error``.
FINISHED_REASONS = (*get_args(FinishReason), "error")

_LATENCIES = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_STEPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5)
_WHOLE = (0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


class Metrics:
    """The metrics of one application; times are in seconds."""

    def __init__(self, model_name: str, stats: Callable[[], EngineStats]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_EngineCollector(model_name, stats))
        self._model_name = model_name
        self.time_to_first_token = self._histogram(
            "time_to_first_token_seconds", "From the request to its first token.", _LATENCIES
        )
        self.inter_token_latency = self._histogram(
            "inter_token_latency_seconds", "From one piece of an answer to the next.", _STEPS
        )
        self.e2e_latency = self._histogram(
            "e2e_request_latency_seconds", "From the request to the end of its answer.", _WHOLE
        )
        self.prompt_tokens = self._histogram(
            "request_prompt_tokens", "Tokens of the prompt, by request.", _TOKENS
        )
        self.generation_tokens = self._histogram(
            "request_generation_tokens", "Tokens of the answer, by request.", _TOKENS
        )
        self._queue_time = self._histogram(
            "request_queue_time_seconds", "From the request's arrival to its start.", _WHOLE
        )
        self._prefill_time = self._histogram(
            "request_prefill_time_seconds", "From its start to its first token.", _WHOLE
        )
        self._decode_time = self._histogram(
            "request_decode_time_seconds", "From its first token to its last.", _WHOLE
        )
        success = Counter(
            "modcore:request_success",
            "Requests that have ended, by reason.",
            ("model_name", "finished_reason"),
            registry=self.registry,
        )
        self._ended = {why: success.labels(model_name, why) for why in FINISHED_REASONS}

    def count_end(self, reason: str) -> None:
        """A request has ended for one of FINISHED_REASONS."""
        self._ended[reason].inc()

    def observe_phases(self, moments: Moments) -> None:
        """What a request that has been answered did when."""
        started, first, last = moments.started, moments.first_token, moments.last_token
        if started is None or first is None or last is None:
            return
        self._queue_time.observe(started - moments.arrived)
        self._prefill_time.observe(first - started)
        self._decode_time.observe(last - first)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """The metrics as the header `accept` wants them, and their content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _histogram(self, suffix: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        name = f"modcore:{suffix}"
        histogram = Histogram(
            name, meaning, ("model_name",), buckets=buckets, registry=self.registry
        )
        return histogram.labels(self._model_name)


#: Suffix, the engine's number, meaning.
_GAUGES = (
    ("num_requests_running", "running", "Requests that are being answered."),
    ("num_requests_waiting", "waiting", "Requests that wait to be started."),
    ("kv_tokens_capacity", "kv_tokens_total", "Tokens that the KV cache holds at most."),
    ("kv_tokens_in_use", "kv_tokens_used", "KV tokens that belong to running requests."),
    ("kv_tokens_cached", "kv_tokens_cached", "KV tokens that only the prefix cache keeps."),
)
_COUNTERS = (
    ("prompt_tokens", "prompt_tokens_total", "Prompt tokens read."),
    ("generation_tokens", "generation_tokens_total", "Tokens generated."),
    ("prefix_cache_queries", "prefix_query_tokens_total", "Tokens looked up in the prefix cache."),
    ("prefix_cache_hits", "prefix_hit_tokens_total", "Tokens found in the prefix cache."),
    ("num_preemptions", "preemptions_total", "Times a request was paused for want of KV tokens."),
)
_MEDIA_GAUGES = (
    ("num_images_waiting", "waiting", "Images whose features are computed or wait to be."),
    (
        "image_cache_bytes",
        "cache_bytes",
        "Bytes of features that are kept for images that come again.",
    ),
)
_MEDIA_COUNTERS = (
    ("images", "images_total", "Images that requests showed."),
    ("image_cache_hits", "cache_hits_total", "Images whose features were known, or on their way."),
    ("image_tiles", "tiles_total", "Tiles that features were computed of."),
    ("vision_seconds", "seconds_total", "Seconds spent on decoding images and computing features."),
)


class _EngineCollector(Collector):
    """Reads the engine's stats once for each scrape."""

    def __init__(self, model_name: str, stats: Callable[[], EngineStats]) -> None:
        self._labels = [model_name]
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """The engine's numbers at this moment."""
        stats = self._stats()
        for suffix, field, meaning in _GAUGES:
            yield self._gauge(suffix, meaning, getattr(stats, field))
        if stats.media:
            yield from self._media(stats.media)
        usage = stats.kv_tokens_used / stats.kv_tokens_total
        yield self._gauge("kv_cache_usage_perc", "kv_tokens_in_use / capacity, 0 to 1.", usage)
        for suffix, field, meaning in _COUNTERS:
            yield self._counter(suffix, meaning, getattr(stats, field))

    def _media(self, media: MediaStats) -> Iterator[Metric]:
        for suffix, field, meaning in _MEDIA_GAUGES:
            yield self._gauge(suffix, meaning, getattr(media, field))
        for suffix, field, meaning in _MEDIA_COUNTERS:
            yield self._counter(suffix, meaning, getattr(media, field))

    def _counter(self, suffix: str, meaning: str, value: float) -> CounterMetricFamily:
        counter = CounterMetricFamily(f"modcore:{suffix}", meaning, labels=["model_name"])
        counter.add_metric(self._labels, value)
        return counter

    def _gauge(self, suffix: str, meaning: str, value: float) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(f"modcore:{suffix}", meaning, labels=["model_name"])
        gauge.add_metric(self._labels, value)
        return gauge
