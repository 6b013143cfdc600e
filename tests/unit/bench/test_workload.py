"""What is asked: within its bounds, the same for the same seed, nothing shared but the prefix."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.bench.settings import Lengths, Settings
from modcore.bench.workload import WORDS, Workload
from modcore.errors import InvalidRequest


def settings(**changes: Any) -> Settings:
    defaults: dict[str, Any] = {
        "concurrency": (1, 4),
        "prompt_tokens": Lengths(16, 32),
        "output_tokens": Lengths(2, 9),
        "seed": 1,
    }
    return Settings(**{**defaults, **changes})


@pytest.mark.parametrize(("text", "bounds"), [("128", (128, 128)), (" 16-256 ", (16, 256))])
def test_length_is_a_number_or_a_range(text: str, bounds: tuple[int, int]) -> None:
    lengths = Lengths.parse(text, "prompt_tokens")
    assert (lengths.low, lengths.high) == bounds
    assert str(lengths) == text.strip()


@pytest.mark.parametrize("text", ["", "0", "-5", "9-3", "many", "1e3", "1-2-3", "9999999", "٣"])
def test_length_that_is_none_is_refused_by_its_option_s_name(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Lengths.parse(text, "output_tokens")
    assert refusal.value.param == "output_tokens"


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("concurrency", ()),
        ("concurrency", (1, 0)),
        ("concurrency", (8, 8)),
        ("concurrency", (100_000,)),
        ("requests", 0),
        ("requests", 10**9),
        ("warmup", -1),
        ("request_rate", 0.0),
        ("request_rate", float("nan")),
        ("timeout", -1.0),
        ("timeout", float("inf")),
        ("shared_prefix", 16),
        ("shared_prefix", -1),
    ],
)
def test_setting_out_of_range_is_refused_by_name(param: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        settings(**{param: value})
    assert refusal.value.param == param


def test_more_tokens_than_the_context_are_refused_with_the_numbers() -> None:
    settings().verify_context(41)
    settings().verify_context(None)
    with pytest.raises(InvalidRequest, match="41 tokens, and the model takes 40"):
        settings().verify_context(40)


@given(st.integers(2, 1000), st.integers(0, 15), st.integers())
def test_requests_keep_to_lengths_and_vocabulary(vocab_size: int, shared: int, seed: int) -> None:
    load = Workload(settings(shared_prefix=shared, seed=seed), vocab_size)
    requests = list(load.level(4))
    assert len(requests) == 16
    for request in requests:
        assert 16 <= len(request.prompt_ids) <= 32
        assert 2 <= request.max_tokens <= 9
        assert 0 <= min(request.prompt_ids) <= max(request.prompt_ids) < vocab_size
        assert request.prompt_ids[:shared] == requests[0].prompt_ids[:shared]
        assert len(request.text.split()) == len(request.prompt_ids)
        assert set(request.text.split()) <= set(WORDS)


def test_same_seed_draws_the_same_and_another_seed_others() -> None:
    one, again, other = (Workload(settings(seed=seed), 1000) for seed in (5, 5, 6))
    assert list(one.level(4)) == list(again.level(4)) != list(other.level(4))


def test_levels_and_warmups_share_the_prefix_and_nothing_else() -> None:
    load = Workload(settings(shared_prefix=10), 1000)
    drawn = [*load.level(1), *load.level(4), *load.warmup(1), *load.warmup(4)]
    assert {tuple(request.prompt_ids[:10]) for request in drawn} == {
        tuple(drawn[0].prompt_ids[:10])
    }
    assert len({tuple(request.prompt_ids[10:15]) for request in drawn}) == len(drawn)


def test_warmup_is_as_many_as_run_at_a_time_with_short_answers() -> None:
    load = Workload(settings(output_tokens=Lengths(50, 60)), 1000)
    assert [request.max_tokens for request in load.warmup(4)] == [8] * 4
