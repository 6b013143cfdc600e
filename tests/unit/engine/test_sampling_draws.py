"""The draw follows the distribution and not the batch; a broken row concerns itself alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modcore.engine import SamplingParams
from modcore.engine.sampling import SamplingState, final_distribution, sample
from modcore.engine.sampling.draw import draw
from modcore.errors import InvalidRequest, StepFailed

VOCAB = 600


def state(prompt: tuple[int, ...] = (1, 2, 3), index: int = 0, **params: Any) -> SamplingState:
    return SamplingState(SamplingParams(**params), prompt, VOCAB, {0}, index=index)


def steps(count: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(count, VOCAB, generator=torch.Generator().manual_seed(seed))


def run(logits: torch.Tensor, one: SamplingState, others: list[SamplingState]) -> list[int]:
    """The tokens that `one` gets from each row of `logits` in a batch with `others`."""
    tokens = []
    for place, row in enumerate(logits):
        batch = torch.cat([steps(len(others), seed=place), row[None]])
        chosen = sample(batch, [*others, one])
        for each, token in zip([*others, one], chosen.tokens, strict=True):
            each.accept(token)
        tokens.append(chosen.tokens[-1])
    return tokens


options = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.7, 1.0, 1.8]),
        "top_k": st.sampled_from([0, 1, 5, 50]),
        "top_p": st.sampled_from([0.3, 0.9, 1.0]),
        "min_p": st.sampled_from([0.0, 0.05]),
        "typical_p": st.sampled_from([0.8, 1.0]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "presence_penalty": st.sampled_from([0.0, 0.5]),
        "min_tokens": st.sampled_from([0, 3]),
        "logprobs": st.sampled_from([None, 2]),
    }
)


@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    params=options,
    crowd=st.lists(st.tuples(st.integers(0, 99), options), max_size=4),
)
def test_seeded_draws_do_not_depend_on_the_batch(
    seed: int, params: dict[str, Any], crowd: list[tuple[int, dict[str, Any]]]
) -> None:
    logits = steps(5, seed=99)
    alone = run(logits, state(seed=seed, **params), [])
    others = [state(seed=other, **more) for other, more in crowd]
    assert run(logits, state(seed=seed, **params), others) == alone


def test_choices_draw_streams_of_their_own() -> None:
    logits = torch.zeros(8, VOCAB)
    streams = [tuple(run(logits, state(seed=5, index=index), [])) for index in (0, 1, 2, 0)]
    assert streams[0] == streams[3]
    assert len(set(streams)) == 3


def test_without_a_seed_draws_differ() -> None:
    logits = torch.zeros(8, VOCAB)
    assert run(logits, state(), []) != run(logits, state(), [])


def test_greedy_takes_the_likeliest_token_and_leaves_the_logits_alone() -> None:
    logits = steps(3)
    before = logits.clone()
    states = [state(temperature=0.0, logit_bias={5: 100}), state(temperature=0.0), state()]
    assert sample(logits, states).tokens[:2] == [5, int(logits[1].argmax())]
    assert torch.equal(logits, before)


@given(
    weights=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=700).filter(
        lambda weights: sum(weights) > 1e-3
    ),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_draw_finds_the_place_in_the_cumulated_weights(
    weights: list[float], uniform: float
) -> None:
    row = torch.tensor([weights])
    token = int(draw(row, torch.tensor([[uniform]], dtype=torch.float64)))
    assert weights[token] > 0
    cumulated = row.double().cumsum(-1)[0]
    low, high = (
        (cumulated[token] - row[0, token].double()) / cumulated[-1],
        cumulated[token] / cumulated[-1],
    )
    assert low - 1e-6 <= uniform <= high + 1e-6


def test_draws_over_a_grid_of_numbers_are_the_distribution() -> None:
    """With every number of a fine grid, each token comes as often as it is probable."""
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0, 0.5]])
    sampling = SamplingState(SamplingParams(temperature=1.3, top_p=0.9), (), 5)
    expected = final_distribution(logits, [sampling])[0]
    grid = 100_000
    uniform = (torch.arange(grid, dtype=torch.float64)[:, None] + 0.5) / grid
    tokens = draw(expected.float().expand(grid, -1), uniform)
    measured = torch.bincount(tokens, minlength=5) / grid
    torch.testing.assert_close(measured, expected.float(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("params", [{"temperature": 0.0}, {}, {"top_k": 3, "logprobs": 2}])
@pytest.mark.parametrize("bad", ["nan", "inf", "nothing"])
def test_row_that_is_not_finite_fails_alone(bad: str, params: dict[str, Any]) -> None:
    logits = steps(3)
    if bad == "nan":
        logits[1, 5] = math.nan
    elif bad == "inf":
        logits[1, 5] = math.inf
    else:
        logits[1] = -math.inf
    states = [state(seed=row, **params) for row in range(3)]
    sampled = sample(logits, states)
    assert isinstance(sampled.errors[1], StepFailed)
    assert sampled.tokens[1] == -1
    assert sampled.logprobs[1] is None
    assert sampled.errors[0] is sampled.errors[2] is None
    for row in (0, 2):
        assert (
            sampled.tokens[row]
            == sample(logits[row : row + 1], [state(seed=row, **params)]).tokens[0]
        )


def test_some_minus_infinities_are_no_error() -> None:
    logits = torch.full((2, VOCAB), -math.inf)
    logits[:, 7] = 1.0
    sampled = sample(logits, [state(temperature=0.0), state()])
    assert sampled.tokens == [7, 7]
    assert sampled.errors == [None, None]


def test_parameters_that_rule_out_every_token_fail_by_saying_so() -> None:
    logits = torch.full((1, VOCAB), -math.inf)
    logits[:, 0] = 1.0  # the end token
    [error] = sample(logits, [state(min_tokens=2)]).errors
    assert isinstance(error, StepFailed)
    assert "min_tokens" in str(error)


@pytest.mark.parametrize("name", ["logit_bias", "stop_token_ids"])
def test_token_that_the_model_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        state(**{name: {VOCAB: 1.0} if name == "logit_bias" else [VOCAB]})
    assert caught.value.param == name


def test_records_come_where_they_are_asked_for() -> None:
    logits = steps(4)
    states = [state(), state(logprobs=0), state(logprobs=3), state(n=1, best_of=2)]
    sampled = sample(logits, states)
    assert [None if each is None else len(each.top) for each in sampled.logprobs] == [None, 0, 3, 0]
    for row in (1, 2, 3):
        record = sampled.logprobs[row]
        assert record is not None
        assert record.token_id == sampled.tokens[row]
        states[row].accept(record.token_id)


def test_records_show_the_models_own_distribution() -> None:
    logits = steps(1)
    biased = state(temperature=2.0, top_k=1, logprobs=1, logit_bias={4: 100.0})
    [record] = sample(logits, [biased]).logprobs
    assert record is not None
    assert record.token_id == 4
    assert record.logprob == pytest.approx(float(logits.log_softmax(-1)[0, 4]), abs=1e-5)
    assert record.top[0][0] == int(logits.argmax())
