"""modcore-llama computes what transformers computes, on checkpoints that transformers wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import (
    llama_config,
    mistral_config,
    qwen2_config,
    qwen3_config,
    random_ids,
    reference,
    reference_greedy,
    reference_logits,
    rewrite_config,
)
from modcore.engine import Engine, SamplingParams
from modcore.errors import CheckpointError

PROMPT_LENGTHS = (1, 2, 7, 33, 128, 300)


def rope(rope_type: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": rope_type, "rope_theta": 10000.0, **values}}


CONFIGS = {
    "multi-head": llama_config(),
    "grouped-query": llama_config(num_key_value_heads=2),
    "multi-query, tied head": llama_config(num_key_value_heads=1, tie_word_embeddings=True),
    "attention bias": llama_config(attention_bias=True),
    "mlp bias": llama_config(mlp_bias=True),
    "head_dim of its own": llama_config(head_dim=24, num_key_value_heads=2),
    "gelu": llama_config(hidden_act="gelu_pytorch_tanh"),
    "linear rope": llama_config(**rope("linear", factor=4.0)),
    "dynamic rope": llama_config(**rope("dynamic", factor=4.0), max_position_embeddings=128),
    "dynamic rope, inside": llama_config(**rope("dynamic", factor=2.0)),
    "yarn": llama_config(**rope("yarn", factor=8.0, original_max_position_embeddings=64)),
    "yarn, all keys": llama_config(
        **rope(
            "yarn",
            factor=8.0,
            original_max_position_embeddings=64,
            beta_fast=16.0,
            beta_slow=2.0,
            mscale=0.7,
            mscale_all_dim=0.9,
            truncate=False,
        )
    ),
    "yarn, attention factor": llama_config(
        **rope("yarn", factor=8.0, original_max_position_embeddings=64, attention_factor=0.8)
    ),
    "llama3 rope": llama_config(
        **rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        )
    ),
    "mistral": mistral_config(),
    "mistral, sliding window": mistral_config(sliding_window=16),
    "qwen2": qwen2_config(),
    "qwen2, tied head": qwen2_config(tie_word_embeddings=True, num_key_value_heads=4),
    "qwen2, window from a layer on": qwen2_config(
        use_sliding_window=True, sliding_window=16, max_window_layers=1
    ),
    "qwen2, yarn": qwen2_config(**rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    "qwen3": qwen3_config(),
    "qwen3, attention bias, tied head": qwen3_config(attention_bias=True, tie_word_embeddings=True),
    "qwen3, windows by layer": qwen3_config(
        use_sliding_window=True,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    ),
}


@pytest.fixture(scope="module", params=CONFIGS, ids=str)
def pair(
    request: pytest.FixtureRequest, write_checkpoint: Callable[..., Path]
) -> Iterator[tuple[Engine, Any, Path]]:
    """An engine, and the directory for its reference."""
    directory = write_checkpoint(CONFIGS[request.param])
    yield Engine.from_pretrained(directory, dtype="float32"), reference(directory), directory


def test_logits_over_prompts_of_1_to_300_tokens_equal_transformers(
    pair: tuple[Engine, Any, Path],
) -> None:
    engine, _, directory = pair
    for length in PROMPT_LENGTHS:
        ids = random_ids(length, seed=length)
        # Read anew: transformers' dynamic rope remembers the longest prompt it has met.
        expected = reference_logits(reference(directory), ids)
        torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)


def test_greedy_alone_and_in_a_mixed_batch_equals_transformers(
    pair: tuple[Engine, Any, Path],
) -> None:
    engine, model, _ = pair
    prompts = [random_ids(length, seed=length) for length in (1, 5, 17, 60)]
    params = SamplingParams(max_tokens=64, temperature=0.0)
    together = engine.generate(prompts, params)
    for prompt, in_batch in zip(prompts, together, strict=True):
        expected = reference_greedy(model, prompt, 64)
        assert in_batch.token_ids == expected
        assert engine.generate([prompt], params)[0].token_ids == expected
        assert in_batch.finish_reason == "length"
        assert in_batch.usage.total_tokens == len(prompt) + 64


def test_the_kv_cache_is_empty_again_after_generating(pair: tuple[Engine, Any, Path]) -> None:
    engine, _, _ = pair
    assert engine.scheduler.holdings.tokens_in_use == 0


def test_sharded_checkpoint_with_an_index_is_read(write_checkpoint: Callable[..., Path]) -> None:
    directory = write_checkpoint(llama_config(), max_shard_size="100KB")
    assert (directory / "model.safetensors.index.json").is_file()
    ids = random_ids(20, seed=1)
    expected = reference_logits(reference(directory), ids)
    engine = Engine.from_pretrained(directory)
    torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)


def test_bfloat16_checkpoint_computed_in_float32_equals_transformers(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(llama_config(), dtype=torch.bfloat16)
    ids = random_ids(40, seed=2)
    expected = reference_logits(reference(directory, torch.float32), ids)
    engine = Engine.from_pretrained(directory, dtype="float32")
    torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)


def test_bfloat16_is_no_further_from_float32_than_transformers_is(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(llama_config(num_key_value_heads=2), dtype=torch.bfloat16)
    ids = random_ids(60, seed=3)
    exact = reference_logits(reference(directory, torch.float32), ids)
    theirs = reference_logits(reference(directory, torch.bfloat16), ids).float()
    engine = Engine.from_pretrained(directory)
    assert engine.model.dtype == torch.bfloat16
    assert (engine.logits(ids) - exact).abs().mean() <= 1.5 * (theirs - exact).abs().mean()
    answer = engine.generate([ids], SamplingParams(max_tokens=16, temperature=0.0))[0]
    assert len(answer.token_ids) == 16


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (rope("default"), {"rope_theta": 10000.0}),
        (
            rope("linear", factor=2.0),
            {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        ),
        (
            rope("yarn", factor=4.0, original_max_position_embeddings=128),
            {
                "rope_theta": 10000.0,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 128,
                },
            },
        ),
    ],
    ids=["default", "linear", "yarn"],
)
def test_transformers_4_spelling_of_rope_is_read(
    write_checkpoint: Callable[..., Path], new: dict[str, Any], old: dict[str, Any]
) -> None:
    directory = write_checkpoint(llama_config(**new))
    ids = random_ids(50, seed=4)
    expected = reference_logits(reference(directory), ids)
    rewrite_config(directory, remove=["rope_parameters"], **old)
    engine = Engine.from_pretrained(directory)
    torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rope_type", ["longrope", "proportional", "su", "imaginary"])
def test_other_rope_types_are_refused_by_name(
    write_checkpoint: Callable[..., Path], rope_type: str
) -> None:
    directory = write_checkpoint(llama_config())
    rewrite_config(directory, rope_parameters={"rope_type": rope_type, "rope_theta": 1e4})
    with pytest.raises(CheckpointError, match=rope_type):
        Engine.from_pretrained(directory)


def test_dynamic_rope_stretches_the_context_by_its_factor(
    write_checkpoint: Callable[..., Path],
) -> None:
    config = llama_config(**rope("dynamic", factor=3.0), max_position_embeddings=100)
    engine = Engine.from_pretrained(write_checkpoint(config))
    assert engine.max_length == 300


def test_tied_head_that_the_file_holds_all_the_same_is_used_as_transformers_uses_it(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(llama_config())
    rewrite_config(directory, tie_word_embeddings=True)
    ids = random_ids(10, seed=5)
    expected = reference_logits(reference(directory), ids)
    engine = Engine.from_pretrained(directory)
    torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)


def test_config_without_what_transformers_fills_in_is_read_as_transformers_reads_it(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(llama_config())
    optional = ["head_dim", "hidden_act", "rms_norm_eps", "num_key_value_heads", "mlp_bias"]
    rewrite_config(directory, remove=[*optional, "attention_bias", "tie_word_embeddings", "dtype"])
    ids = random_ids(10, seed=6)
    expected = reference_logits(reference(directory), ids)
    engine = Engine.from_pretrained(directory)
    torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)
