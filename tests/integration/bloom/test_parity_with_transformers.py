"""modcore-bloom computes what transformers computes, on checkpoints that transformers wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import (
    bloom_config,
    random_ids,
    reference,
    reference_greedy,
    reference_logits,
    rewrite_config,
    rewrite_tensors,
)
from modcore.engine import Engine, SamplingParams

PROMPT_LENGTHS = (1, 2, 7, 33, 128, 129, 300)

CONFIGS = {
    "one head": bloom_config(heads=1),
    "2 heads": bloom_config(heads=2, head_dim=32),
    "3 heads": bloom_config(heads=3),
    "8 heads": bloom_config(heads=8, head_dim=8),
    "12 heads": bloom_config(heads=12, head_dim=8),
    "odd head_dim": bloom_config(heads=3, head_dim=7),
    "untied head": bloom_config(heads=3, tie_word_embeddings=False),
    "residual behind the norm": bloom_config(
        heads=6, head_dim=8, apply_residual_connection_post_layernorm=True
    ),
    "trained on several ranks": bloom_config(pretraining_tp=4),
    "large epsilon": bloom_config(layer_norm_epsilon=0.1),
}


@pytest.fixture(scope="module", params=CONFIGS, ids=str)
def pair(
    request: pytest.FixtureRequest, write_checkpoint: Callable[..., Path]
) -> Iterator[tuple[Engine, Any]]:
    """An engine and its reference."""
    directory = write_checkpoint(CONFIGS[request.param])
    yield Engine.from_pretrained(directory, dtype="float32"), reference(directory)


def assert_equal_logits(directory: Path, expected: torch.Tensor, ids: list[int]) -> None:
    logits = Engine.from_pretrained(directory, dtype="float32").logits(ids)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_logits_over_prompts_of_1_to_300_tokens_equal_transformers(
    pair: tuple[Engine, Any],
) -> None:
    engine, model = pair
    for length in PROMPT_LENGTHS:
        ids = random_ids(length, seed=length)
        expected = reference_logits(model, ids)
        torch.testing.assert_close(engine.logits(ids), expected, atol=1e-4, rtol=0)


def test_greedy_alone_and_in_a_mixed_batch_equals_transformers(pair: tuple[Engine, Any]) -> None:
    engine, model = pair
    prompts = [random_ids(length, seed=length) for length in (1, 5, 17, 60, 300)]
    params = SamplingParams(max_tokens=64, temperature=0.0)
    together = engine.generate(prompts, params)
    for prompt, in_batch in zip(prompts, together, strict=True):
        expected = reference_greedy(model, prompt, 64)
        assert in_batch.token_ids == expected
        assert engine.generate([prompt], params)[0].token_ids == expected


@pytest.mark.parametrize("tied", [True, False])
def test_tensor_names_without_transformer_in_front_are_read(
    write_checkpoint: Callable[..., Path], tied: bool
) -> None:
    directory = write_checkpoint(bloom_config(heads=3, tie_word_embeddings=tied))
    ids = random_ids(40, seed=1)
    expected = reference_logits(reference(directory), ids)
    rewrite_tensors(
        directory,
        lambda tensors: {name.removeprefix("transformer."): t for name, t in tensors.items()},
    )
    assert_equal_logits(directory, expected, ids)


@pytest.mark.parametrize(
    "spelling",
    [
        {"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2},
        {"n_embed": 48, "num_attention_heads": 3, "n_layer": 2},
        {"n_embed": 48, "hidden_size": 48, "n_head": 3, "num_attention_heads": 3, "n_layer": 2},
        {"n_embed": None, "hidden_size": 48, "n_head": 3, "num_hidden_layers": 2},
    ],
    ids=lambda spelling: ",".join(spelling),
)
def test_every_spelling_of_the_config_is_read(
    write_checkpoint: Callable[..., Path], spelling: dict[str, Any]
) -> None:
    directory = write_checkpoint(bloom_config(heads=3))
    ids = random_ids(40, seed=2)
    expected = reference_logits(reference(directory), ids)
    rewrite_config(directory, ["hidden_size", "n_head", "n_layer"], **spelling)
    assert_equal_logits(directory, expected, ids)
    torch.testing.assert_close(reference_logits(reference(directory), ids), expected)


def test_config_without_what_transformers_fills_in_is_read_as_transformers_reads_it(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(bloom_config(heads=3))
    flags = ["apply_residual_connection_post_layernorm", "slow_but_exact", "pretraining_tp"]
    rewrite_config(directory, [*flags, "layer_norm_epsilon", "tie_word_embeddings", "dtype"])
    ids = random_ids(10, seed=3)
    assert_equal_logits(directory, reference_logits(reference(directory), ids), ids)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_narrow_checkpoint_computed_in_float32_equals_transformers(
    write_checkpoint: Callable[..., Path], stored: torch.dtype
) -> None:
    directory = write_checkpoint(bloom_config(heads=6), dtype=stored)
    ids = random_ids(40, seed=4)
    assert_equal_logits(directory, reference_logits(reference(directory, torch.float32), ids), ids)
    computed = Engine.from_pretrained(directory).model.dtype
    assert computed == (torch.bfloat16 if stored == torch.bfloat16 else torch.float32)


def test_bfloat16_is_no_further_from_float32_than_transformers_is(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(bloom_config(heads=6), dtype=torch.bfloat16)
    for length in (60, 300):
        ids = random_ids(length, seed=5)
        exact = reference_logits(reference(directory, torch.float32), ids)
        theirs = reference_logits(reference(directory, torch.bfloat16), ids).float()
        engine = Engine.from_pretrained(directory)
        assert (engine.logits(ids) - exact).abs().mean() <= 1.5 * (theirs - exact).abs().mean()
        answer = engine.generate([ids], SamplingParams(max_tokens=16, temperature=0.0))[0]
        assert len(answer.token_ids) == 16


def test_sharded_checkpoint_with_an_index_is_read(write_checkpoint: Callable[..., Path]) -> None:
    directory = write_checkpoint(bloom_config(), max_shard_size="100KB")
    assert (directory / "model.safetensors.index.json").is_file()
    ids = random_ids(20, seed=6)
    assert_equal_logits(directory, reference_logits(reference(directory), ids), ids)


def test_tied_head_that_the_file_holds_all_the_same_is_used_as_transformers_uses_it(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(bloom_config(tie_word_embeddings=False))
    rewrite_config(directory, tie_word_embeddings=True)
    ids = random_ids(10, seed=7)
    assert_equal_logits(directory, reference_logits(reference(directory), ids), ids)


def test_tied_head_takes_no_memory_of_its_own(write_checkpoint: Callable[..., Path]) -> None:
    weight = Engine.from_pretrained(write_checkpoint(bloom_config())).model.pre_post_weight
    assert weight.lm_head.weight.data_ptr() == weight.embedding.data_ptr()


def test_points_hold_what_transformers_modules_hand_on(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(bloom_config(heads=3))
    ids = random_ids(30, seed=8)
    model = reference(directory)
    expected: dict[str, torch.Tensor] = {}
    block = model.transformer.h[1]
    modules = {
        "embed": model.transformer.word_embeddings_layernorm,
        "layers.1.attn_in": block.input_layernorm,
        "layers.1.attn_out": block.self_attention.dense,
        "layers.1.mlp_in": block.post_attention_layernorm,
        "layers.1.mlp_out": block.mlp.dense_4h_to_h,
        "layers.1.out": block,
        "final_norm": model.transformer.ln_f,
    }
    for name, module in modules.items():
        module.register_forward_hook(lambda _module, _args, out, name=name: keep(name, out))

    def keep(name: str, out: Any) -> None:
        expected[name] = (out[0] if isinstance(out, tuple) else out).reshape(len(ids), -1)

    reference_logits(model, ids)
    seen: dict[str, torch.Tensor] = {}
    taps = {name: lambda x, name=name: seen.setdefault(name, x.clone()) for name in modules}
    Engine.from_pretrained(directory).logits(ids, taps=taps)
    for name in modules:
        torch.testing.assert_close(seen[name], expected[name], atol=1e-4, rtol=0)
