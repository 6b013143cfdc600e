"""`/metrics`: what the engine does and what callers feel, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from modcore.engine import AsyncEngine, Engine
from modcore.serve.app import create_app
from servers import ServerProcess, parse, samples_of, scrape, serving
from waiting import wait_until

Serve = Callable[..., AbstractContextManager[ServerProcess]]

NAMES = {
    "num_requests_running",
    "num_requests_waiting",
    "kv_tokens_capacity",
    "kv_tokens_in_use",
    "kv_tokens_cached",
    "kv_cache_usage_perc",
    "prompt_tokens_total",
    "generation_tokens_total",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "num_preemptions_total",
}
HISTOGRAMS = {
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
}


@pytest.fixture
def fresh(text_checkpoint: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, which nobody has asked anything yet."""
    words = ["--dtype", "float32", "--kv-tokens", "2048", "--model-name", "tiny"]
    with serving(str(text_checkpoint), *words) as server:
        yield server


def test_fresh_server_has_every_metric_at_zero(fresh: ServerProcess) -> None:
    status, content_type, body = scrape(fresh.url)
    assert status == 200
    assert content_type.startswith("text/plain")
    samples = parse(body)
    assert samples.pop(("kv_tokens_capacity", "")) == 2048
    names = {name for name, _ in samples}
    assert NAMES - {"kv_tokens_capacity"} <= names
    assert {f"{name}_{what}" for name in HISTOGRAMS for what in ("count", "sum")} <= names
    reasons = {reason for name, reason in samples if name == "request_success_total"}
    assert reasons == {"stop", "length", "abort", "error"}
    assert {value for (name, _), value in samples.items() if not name.endswith("_created")} == {0}
    assert 'model_name="tiny"' in body


def test_answers_are_counted_by_tokens_and_reason(fresh: ServerProcess) -> None:
    client = fresh.client()
    usages = []
    ask = {"model": "tiny", "prompt": "the quick", "max_tokens": 9, "temperature": 0}
    for _ in range(3):
        usages.append(client.completions.create(**ask).usage)
    for chunk in client.completions.create(
        **ask, stream=True, stream_options={"include_usage": True}
    ):
        usages.append(chunk.usage)
    chat = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=4, temperature=0
    )
    usages = [usage for usage in (*usages, chat.usage) if usage]
    samples = samples_of(fresh)
    written = sum(usage.completion_tokens for usage in usages)
    assert len(usages) == 5
    assert samples["prompt_tokens_total", ""] == sum(usage.prompt_tokens for usage in usages)
    assert samples["generation_tokens_total", ""] == written
    assert samples["request_generation_tokens_sum", ""] == written
    ended = {why: samples["request_success_total", why] for why in ("stop", "length")}
    assert sum(ended.values()) == 5
    for name in HISTOGRAMS - {"inter_token_latency_seconds"}:
        assert samples[f"{name}_count", ""] == 5
    assert 0 < samples["inter_token_latency_seconds_count", ""] <= written - 5
    first, whole = "time_to_first_token_seconds_sum", "e2e_request_latency_seconds_sum"
    between = samples["inter_token_latency_seconds_sum", ""]
    assert samples[first, ""] + between == pytest.approx(samples[whole, ""], rel=0.05)
    phases = [f"request_{phase}_time_seconds_sum" for phase in ("queue", "prefill", "decode")]
    assert all(samples[phase, ""] > 0 for phase in phases)
    assert sum(samples[phase, ""] for phase in phases) < samples[whole, ""]


def test_answer_of_several_choices_is_one_request(fresh: ServerProcess) -> None:
    ask = {"model": "tiny", "prompt": ["the quick", "def"], "max_tokens": 5, "n": 3, "seed": 1}
    usage = fresh.client().completions.create(**ask).usage
    streamed = fresh.client().completions.create(
        **ask, stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage for chunk in streamed][-1].completion_tokens == usage.completion_tokens
    samples = samples_of(fresh)
    ended = {why: samples["request_success_total", why] for why in ("stop", "length", "abort")}
    assert sum(ended.values()) == 4 and ended["abort"] == 0
    for name in HISTOGRAMS - {"inter_token_latency_seconds"}:
        assert samples[f"{name}_count", ""] == 4
    assert samples["request_generation_tokens_sum", ""] == 2 * usage.completion_tokens
    assert samples["request_prompt_tokens_sum", ""] == 2 * usage.prompt_tokens


def test_every_http_request_is_counted_by_route_and_status(fresh: ServerProcess) -> None:
    client = fresh.client()
    client.completions.create(model="tiny", prompt="a", max_tokens=1)
    list(client.completions.create(model="tiny", prompt="a", max_tokens=1, stream=True))
    client.models.retrieve("tiny")
    for path, body in (("/v1/models/other", None), ("/made/up", None), ("/v1/completions", b"{")):
        scrape(fresh.url, path, body)
    scrape(fresh.url, "/v1/completions", b"x" * (9 << 20))
    body = scrape(fresh.url)[2]
    for labels, count in {
        ("/v1/completions", "POST", 200): 2,
        ("/v1/completions", "POST", 400): 1,
        ("/v1/completions", "POST", 413): 1,
        ("/v1/models/{model}", "GET", 200): 1,
        ("/v1/models/{model}", "GET", 404): 1,
        ("other", "GET", 404): 1,
    }.items():
        labelled = '{{handler="{}",method="{}",status="{}"}} {}.0'.format(*labels, count)
        assert f"http_requests_total{labelled}" in body
        assert f"http_request_duration_seconds_count{labelled}" in body


def test_running_request_is_seen_and_one_given_up_leaves_the_kv_cache_empty(
    fresh: ServerProcess,
) -> None:
    stream = fresh.client().completions.create(
        model="tiny", prompt="the", max_tokens=500, temperature=0, stream=True
    )
    next(iter(stream))
    running = samples_of(fresh)
    assert running["num_requests_running", ""] == 1
    assert 0 < running["kv_tokens_in_use", ""] < 2048
    assert running["kv_cache_usage_perc", ""] == running["kv_tokens_in_use", ""] / 2048
    stream.close()
    wait_until(lambda: samples_of(fresh)["request_success_total", "abort"])
    wait_until(lambda: not samples_of(fresh)["num_requests_running", ""])
    samples = samples_of(fresh)
    assert samples["kv_tokens_in_use", ""] == 0
    assert samples["e2e_request_latency_seconds_count", ""] == 0


def test_metrics_ask_for_the_key_as_every_path_does(serve: Serve, text_checkpoint: Path) -> None:
    with serve(str(text_checkpoint), MODCORE_API_KEY="s3cret") as locked:
        assert scrape(locked.url)[0] == 401
        assert scrape(locked.url, authorization="Bearer wrong")[0] == 401
        status, _, body = scrape(locked.url, authorization="Bearer s3cret")
        assert status == 200
        assert "s3cret" not in body


def test_openmetrics_is_sent_to_who_asks_for_it(fresh: ServerProcess) -> None:
    _, content_type, body = scrape(fresh.url, accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_two_applications_in_one_process_count_for_themselves(text_checkpoint: Path) -> None:
    engines = [AsyncEngine(Engine.from_pretrained(text_checkpoint)) for _ in range(2)]
    try:
        one, two = (
            TestClient(create_app(each, name)) for each, name in zip(engines, "ab", strict=True)
        )
        one.post("/v1/completions", json={"prompt": "the", "max_tokens": 2}).raise_for_status()
        written = ("generation_tokens_total", "")
        assert parse(one.get("/metrics").text)[written] == 2
        assert parse(two.get("/metrics").text)[written] == 0
    finally:
        for engine in engines:
            engine.close()
