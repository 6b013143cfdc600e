"""Each filter and each edit, alone and together, gives the distribution that transformers' gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from modcore.engine import SamplingParams
from modcore.engine.sampling import SamplingState, final_distribution

VOCAB = 300
WARPERS: dict[str, Any] = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
}


def random_logits(seed: int, rows: int = 1, vocab: int = VOCAB) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(rows, vocab, generator=generator)


def distribution(logits: torch.Tensor, prompt: tuple[int, ...] = (), **params: Any) -> torch.Tensor:
    state = SamplingState(SamplingParams(**params), prompt, logits.shape[-1])
    return final_distribution(logits, [state] * len(logits)).float()


def transformers_distribution(logits: torch.Tensor, **params: Any) -> torch.Tensor:
    """In transformers' order; the keys of WARPERS are in it."""
    warpers = LogitsProcessorList(
        [WARPERS[name](params[name]) for name in WARPERS if name in params]
    )
    return warpers(torch.zeros(len(logits), 1, dtype=torch.long), logits).softmax(dim=-1)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.3},
        {"temperature": 2.5},
        {"top_k": 1},
        {"top_k": 17},
        {"top_k": 1000},
        {"top_p": 0.05},
        {"top_p": 0.7},
        {"top_p": 0.999},
        {"min_p": 0.02},
        {"min_p": 1.0},
        {"typical_p": 0.2},
        {"typical_p": 0.95},
        {"temperature": 1.5, "top_k": 40, "top_p": 0.8},
        {"temperature": 3.0, "top_k": 40, "min_p": 0.1, "typical_p": 0.7},
        {"temperature": 0.8, "top_k": 90, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.9},
    ],
    ids=str,
)
def test_filters_give_what_transformers_gives(params: dict[str, Any]) -> None:
    logits = random_logits(1, rows=20)
    expected = transformers_distribution(logits, **params)
    measured = distribution(logits, **params)
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(measured > 0, expected > 0)


@given(
    seed=st.integers(0, 2**31),
    temperature=st.floats(0.1, 5),
    top_k=st.integers(1, 60),
    top_p=st.floats(0.01, 0.99),
    min_p=st.floats(0.001, 0.5),
    typical_p=st.floats(0.05, 0.99),
)
def test_filters_together_give_what_transformers_gives(seed: int, **params: Any) -> None:
    logits = random_logits(seed, vocab=50)
    expected = transformers_distribution(logits, **params)
    torch.testing.assert_close(distribution(logits, **params), expected, atol=1e-4, rtol=1e-3)


def test_top_k_keeps_those_as_likely_as_the_last() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0]])
    expected = torch.tensor([[0.0, 1 / 3, 1 / 3, 1 / 3, 0.0]])
    torch.testing.assert_close(distribution(logits, top_k=2), expected)


@pytest.mark.parametrize("off", [0, -1])
def test_top_k_can_be_off(off: int) -> None:
    logits = random_logits(3)
    torch.testing.assert_close(distribution(logits, top_k=off), logits.softmax(-1))


def test_top_p_keeps_the_smallest_set_that_holds_it_and_renormalises() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    expected = torch.tensor([[0.5, 0.3, 0.0, 0.0]]) / 0.8
    torch.testing.assert_close(distribution(logits, top_p=0.75), expected)


def test_top_p_takes_equally_likely_tokens_in_the_order_of_their_ids() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0, 2.0, 2.0, 0.0]])
    expected = torch.tensor([[0.0, 0.5, 0.5, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(distribution(logits, top_p=0.35), expected)


@pytest.mark.parametrize("params", [{"top_p": 1e-9}, {"temperature": 1e-30}, {"temperature": 1e-4}])
def test_tiny_top_p_and_tiny_temperature_leave_the_likeliest_token(params: dict[str, Any]) -> None:
    expected = torch.tensor([[0.0, 1.0, 0.0]])
    logits = torch.tensor([[-3e38, 3e38, 2.0]])
    torch.testing.assert_close(distribution(logits, **params), expected)


def test_greedy_is_the_likeliest_token_alone() -> None:
    measured = distribution(torch.tensor([[0.0, 3.0, 1.0]]), temperature=0.0)
    assert measured.tolist() == [[0.0, 1.0, 0.0]]


# What is done to the logits before the temperature.


def grown(
    params: SamplingParams, prompt: list[int], output: list[int], **more: Any
) -> SamplingState:
    state = SamplingState(params, prompt, VOCAB, **more)
    for token in output:
        state.accept(token)
    return state


@given(
    prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=40),
    output=st.lists(st.integers(0, VOCAB - 1), max_size=60),
    penalty=st.floats(0.5, 2),
)
def test_repetition_penalty_is_transformers(
    prompt: list[int], output: list[int], penalty: float
) -> None:
    logits = random_logits(5)
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    expected = processor(torch.tensor([prompt + output]), logits.clone()).softmax(-1)
    state = grown(SamplingParams(repetition_penalty=penalty), prompt, output)
    torch.testing.assert_close(final_distribution(logits, [state]).float(), expected)


@given(
    output=st.lists(st.integers(0, 9), max_size=60),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
)
def test_presence_and_frequency_penalties_count_generated_tokens_only(
    output: list[int], presence: float, frequency: float
) -> None:
    logits = random_logits(6)
    counts = torch.bincount(torch.tensor(output, dtype=torch.long), minlength=VOCAB)
    expected = (logits - counts * frequency - (counts > 0) * presence).softmax(-1)
    params = SamplingParams(presence_penalty=presence, frequency_penalty=frequency)
    state = grown(params, [1, 2, 250], output)
    torch.testing.assert_close(final_distribution(logits, [state]).float(), expected)


def test_bias_is_added_after_the_penalties() -> None:
    logits = random_logits(7)
    biases = {3: 4.0, 250: -100.0, 17: 100.0}
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.7),
            SequenceBiasLogitsProcessor([[[token], bias] for token, bias in biases.items()]),
        ]
    )
    prompt = [3, 250, 8]
    expected = processors(torch.tensor([prompt]), logits.clone()).softmax(-1)
    params = SamplingParams(repetition_penalty=1.7, logit_bias=biases)
    measured = final_distribution(logits, [grown(params, prompt, [])]).float()
    torch.testing.assert_close(measured, expected)


@pytest.mark.parametrize("count", [0, 2, 3, 4])
def test_min_tokens_masks_what_ends_until_they_are_there(count: int) -> None:
    logits = random_logits(8)
    processor = MinNewTokensLengthLogitsProcessor(4, 3, [7, 9])
    output = [1] * count
    expected = processor(torch.tensor([[1, 2, 3, 4, *output]]), logits.clone()).softmax(-1)
    params = SamplingParams(min_tokens=3, stop_token_ids=[9])
    state = grown(params, [1, 2, 3, 4], output, eos_token_ids={7})
    torch.testing.assert_close(final_distribution(logits, [state]).float(), expected)
    assert state.ends(7) == state.ends(9) == state.may_stop == (count >= 3)


def test_what_ends_an_answer() -> None:
    state = grown(SamplingParams(stop_token_ids=[9]), [1], [], eos_token_ids={7})
    assert [token for token in range(12) if state.ends(token)] == [7, 9]
    state = grown(SamplingParams(stop_token_ids=[9], ignore_eos=True), [1], [], eos_token_ids={7})
    assert [token for token in range(12) if state.ends(token)] == [9]
