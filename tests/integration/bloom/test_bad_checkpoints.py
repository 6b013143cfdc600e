"""What a Bloom checkpoint that cannot be served gets: one sentence that names the culprit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import (
    bloom_config,
    random_ids,
    reference,
    reference_logits,
    rewrite_config,
    rewrite_tensors,
)
from modcore.engine import Engine
from modcore.errors import CheckpointError

DENSE = "transformer.h.1.self_attention.dense.weight"


@pytest.fixture
def checkpoint(write_checkpoint: Callable[..., Path]) -> Path:
    """A good checkpoint that a test may spoil."""
    return write_checkpoint(bloom_config(heads=3))


def refusal(checkpoint: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Engine.from_pretrained(checkpoint)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_missing_tensor_is_named_as_the_file_spells_it(checkpoint: Path, prefix: str) -> None:
    name = DENSE.removeprefix("transformer.")

    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        stripped = {key.removeprefix("transformer."): value for key, value in tensors.items()}
        return {f"{prefix}{key}": value for key, value in stripped.items() if key != name}

    rewrite_tensors(checkpoint, spoil)
    assert f"Tensor {prefix}{name} is missing" in refusal(checkpoint)


def test_missing_bias_and_unexpected_tensor_are_named(checkpoint: Path) -> None:
    bias = DENSE.replace("weight", "bias")
    rewrite_tensors(checkpoint, lambda tensors: tensors.update({"extra.weight": tensors.pop(bias)}))
    message = refusal(checkpoint)
    assert f"Tensor {bias} is missing" in message
    assert "Tensor extra.weight" in message and "not expected" in message


def test_file_that_mixes_names_with_and_without_prefix_is_refused_with_the_near_miss(
    checkpoint: Path,
) -> None:
    bare = DENSE.removeprefix("transformer.")
    rewrite_tensors(checkpoint, lambda tensors: tensors.update({bare: tensors.pop(DENSE)}))
    message = refusal(checkpoint)
    assert f"Tensor {DENSE} is missing" in message and f"Tensor {bare}" in message


def test_untied_head_that_is_missing_is_named(checkpoint: Path) -> None:
    rewrite_config(checkpoint, tie_word_embeddings=False)
    assert "Tensor lm_head.weight is missing" in refusal(checkpoint)


def test_wrong_shape_is_named_with_both_shapes(checkpoint: Path) -> None:
    name = "transformer.h.0.self_attention.query_key_value.weight"
    rewrite_tensors(checkpoint, lambda tensors: {**tensors, name: torch.ones(96, 48)})
    message = refusal(checkpoint)
    assert name in message and "[96, 48]" in message and "[144, 48]" in message


def test_value_that_is_not_finite_is_named_though_the_rows_are_sorted(checkpoint: Path) -> None:
    name = "transformer.h.1.self_attention.query_key_value.bias"

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name][17] = float("nan")

    rewrite_tensors(checkpoint, spoil)
    message = refusal(checkpoint)
    assert name in message and "finite" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "48"),
        ("hidden_size", 49),
        ("n_head", 0),
        ("n_layer", None),
        ("layer_norm_epsilon", "tiny"),
        ("layer_norm_epsilon", 0),
        ("vocab_size", -1),
        ("tie_word_embeddings", "no"),
        ("apply_residual_connection_post_layernorm", 1),
        ("slow_but_exact", "yes"),
        ("seq_length", 0),
        ("seq_length", "long"),
    ],
)
def test_config_key_of_a_wrong_type_or_range_is_named(
    checkpoint: Path, key: str, value: Any
) -> None:
    rewrite_config(checkpoint, **{key: value})
    message = refusal(checkpoint)
    assert str(checkpoint / "config.json") in message
    names = {"n_head": "num_attention_heads", "n_layer": "num_hidden_layers"}
    assert names.get(key, key) in message


@pytest.mark.parametrize(
    ("key", "value"), [("n_embed", 96), ("num_attention_heads", 6), ("num_hidden_layers", 1)]
)
def test_two_spellings_that_disagree_are_refused_with_both(
    checkpoint: Path, key: str, value: int
) -> None:
    rewrite_config(checkpoint, **{key: value})
    message = refusal(checkpoint)
    assert "spelled twice" in message and f"{key} {value}" in message


def test_config_without_a_needed_key_names_it(checkpoint: Path) -> None:
    rewrite_config(checkpoint, remove=["n_head"])
    assert "num_attention_heads is missing" in refusal(checkpoint)


def test_slow_but_exact_over_several_ranks_is_refused_with_the_way_out(checkpoint: Path) -> None:
    rewrite_config(checkpoint, slow_but_exact=True, pretraining_tp=2)
    message = refusal(checkpoint)
    assert "slow_but_exact" in message and "set it to false" in message


def test_slow_but_exact_on_one_rank_changes_nothing_as_in_transformers(checkpoint: Path) -> None:
    ids = random_ids(20, seed=1)
    rewrite_config(checkpoint, slow_but_exact=True)
    expected = reference_logits(reference(checkpoint), ids)
    logits = Engine.from_pretrained(checkpoint).logits(ids)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
