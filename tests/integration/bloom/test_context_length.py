"""How long a prompt and its answer may be: as the config says, or as is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from checkpoints import (
    bloom_config,
    llama_config,
    random_ids,
    reference,
    reference_logits,
    rewrite_config,
)
from modcore.engine import Engine, SamplingParams
from modcore.errors import InvalidRequest


@pytest.fixture
def bloom(write_checkpoint: Callable[..., Path]) -> Path:
    return write_checkpoint(bloom_config(heads=3))


@pytest.fixture
def llama(write_checkpoint: Callable[..., Path]) -> Path:
    return write_checkpoint(llama_config())


def test_context_is_seq_length_where_the_config_has_it(bloom: Path) -> None:
    rewrite_config(bloom, seq_length=100)
    engine = Engine.from_pretrained(bloom)
    assert engine.max_length == 100
    with pytest.raises(InvalidRequest, match="context of 100"):
        engine.generate([random_ids(100, seed=0)])


@pytest.mark.parametrize("config", [{}, {"seq_length": None}])
def test_context_is_what_bloom_was_trained_with_where_the_config_has_none(
    bloom: Path, config: dict[str, None]
) -> None:
    rewrite_config(bloom, **config)
    assert Engine.from_pretrained(bloom).max_length == 2048


def test_longer_prompts_are_computed_when_asked_for(bloom: Path) -> None:
    rewrite_config(bloom, seq_length=64)
    engine = Engine.from_pretrained(bloom, context_length=3000)
    assert engine.max_length == 3000
    ids = random_ids(2500, seed=1)
    expected = reference_logits(reference(bloom), ids)
    torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)
    answer = engine.generate([ids], SamplingParams(max_tokens=8, temperature=0.0))[0]
    assert len(answer.token_ids) == 8


@pytest.mark.parametrize("family", ["bloom", "llama"])
def test_any_context_may_be_shortened(family: str, request: pytest.FixtureRequest) -> None:
    engine = Engine.from_pretrained(request.getfixturevalue(family), context_length=20)
    assert engine.max_length == 20
    result = engine.generate([[5] * 12], SamplingParams(max_tokens=50, temperature=0.0))[0]
    assert len(result.token_ids) == 8 and result.finish_reason == "length"


def test_context_beyond_fixed_positions_is_refused_with_both_numbers(llama: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"513.*512") as caught:
        Engine.from_pretrained(llama, context_length=513)
    assert caught.value.param == "context_length"


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_context_that_is_no_number_of_tokens_is_refused(bloom: Path, value: object) -> None:
    with pytest.raises(InvalidRequest, match="context_length"):
        Engine.from_pretrained(bloom, context_length=value)  # type: ignore[arg-type]
