"""Parameters are checked; the draw follows the distribution and not the batch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modcore.engine import SamplingParams
from modcore.engine.sampling import sample
from modcore.errors import InvalidRequest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -3),
        ("max_tokens", 10**12),
        ("max_tokens", 2.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("seed", 2**63),
        ("seed", "lucky"),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", 5),
        ("stop", ["a", 5]),
        ("stop", ["a"] * 65),
    ],
)
def test_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name
    assert name in str(caught.value)


def draw(logits: torch.Tensor, *params: SamplingParams) -> list[int]:
    return sample(logits, params, [param.generator() for param in params])


def test_greedy_takes_the_likeliest_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    greedy = SamplingParams(temperature=0.0)
    assert draw(logits, greedy, greedy) == [1, 0]


@given(seed=st.integers(-(2**63), 2**63 - 1), others=st.integers(0, 5))
def test_seeded_draw_does_not_depend_on_the_batch(seed: int, others: int) -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(1))
    alone = draw(logits, SamplingParams(seed=seed))
    crowd = [SamplingParams(seed=7 + i, top_p=0.5) for i in range(others)]
    batch = torch.cat([torch.randn(others, 50), logits])
    assert draw(batch, *crowd, SamplingParams(seed=seed))[-1:] == alone


def frequencies(logits: list[float], **params: Any) -> torch.Tensor:
    param = SamplingParams(**params)
    generator = torch.Generator().manual_seed(0)
    rows = torch.tensor([logits]).repeat(20_000, 1)
    tokens = sample(rows, [param] * len(rows), [generator] * len(rows))
    return torch.bincount(torch.tensor(tokens), minlength=len(logits)) / len(rows)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_at_the_temperature(temperature: float) -> None:
    logits = [1.0, 0.0, -1.0, 2.0]
    expected = (torch.tensor(logits) / temperature).softmax(0)
    measured = frequencies(logits, temperature=temperature)
    torch.testing.assert_close(measured, expected, atol=0.015, rtol=0)


def test_top_p_keeps_the_smallest_set_that_holds_it_and_renormalises() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    expected = torch.tensor([0.5, 0.3, 0.0, 0.0]) / 0.8
    measured = frequencies(logits, top_p=0.75)
    torch.testing.assert_close(measured, expected, atol=0.015, rtol=0)


def test_tiny_top_p_and_tiny_temperature_take_the_likeliest_token() -> None:
    logits = torch.tensor([[1.0, 30.0, 2.0]])
    assert draw(logits, SamplingParams(top_p=1e-9)) == [1]
    assert draw(logits, SamplingParams(temperature=1e-30)) == [1]
