"""Ranks share Bloom's heads: q, k and v lie head by head in the file, and biases are added once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from checkpoints import bloom_config, reference
from modcore.checkpoint import read_config
from modcore.engine.config_reader import ConfigReader
from modcore.engine.kernels.reference import TorchKernels
from modcore.engine.weights import Shard
from modcore.engine.weights.loader import load_weights
from modcore.engine.weights.safetensors_files import SafetensorsFiles
from modcore.errors import CheckpointError
from modcore_bloom.alibi import alibi_slopes
from modcore_bloom.config import BLOOM_DEFAULTS, BloomConfig
from modcore_bloom.layers import BloomTransformerLayerInfer
from modcore_bloom.weights import BloomTransformerLayerWeight

REST = (r"^(?!transformer\.h\.1\.)",)
HEADS, HEAD_DIM = 6, 8
HIDDEN = HEADS * HEAD_DIM


@pytest.fixture
def directory(write_checkpoint: Callable[..., Path]) -> Path:
    return write_checkpoint(bloom_config(heads=HEADS, head_dim=HEAD_DIM))


def read(directory: Path) -> BloomConfig:
    return BloomConfig.read(ConfigReader(read_config(directory), "config.json", BLOOM_DEFAULTS))


def load_layer(directory: Path, shard: Shard) -> BloomTransformerLayerWeight:
    layer = BloomTransformerLayerWeight(read(directory), 1)
    with SafetensorsFiles(directory) as files:
        load_weights(files, [layer], torch.float32, TorchKernels(), ignored=REST, shard=shard)
    return layer


def test_fused_weight_holds_all_queries_then_all_keys_then_all_values(directory: Path) -> None:
    layer = load_layer(directory, Shard())
    stored = reference(directory).transformer.h[1].self_attention.query_key_value
    by_head = stored.weight.view(HEADS, 3, HEAD_DIM, HIDDEN)
    for part, rows in enumerate(layer.qkv.weight.split(HIDDEN)):
        assert torch.equal(rows, by_head[:, part].reshape(HIDDEN, HIDDEN))
    biases = stored.bias.view(HEADS, 3, HEAD_DIM)
    for part, rows in enumerate(layer.qkv.bias.split(HIDDEN)):
        assert torch.equal(rows, biases[:, part].flatten())


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_each_rank_holds_the_queries_keys_and_values_of_its_heads(
    directory: Path, ranks: int
) -> None:
    whole = load_layer(directory, Shard())
    parts = [load_layer(directory, Shard(rank, ranks)) for rank in range(ranks)]
    for name in ("weight", "bias"):
        own = [getattr(part.qkv, name).view(3, HEADS // ranks, HEAD_DIM, -1) for part in parts]
        joined = torch.cat(own, dim=1).reshape(getattr(whole.qkv, name).shape)
        assert torch.equal(joined, getattr(whole.qkv, name))
        assert torch.equal(
            torch.cat([getattr(part.up, name) for part in parts]), getattr(whole.up, name)
        )


def test_what_ranks_sum_up_holds_its_bias_once(directory: Path) -> None:
    whole = load_layer(directory, Shard())
    ranks = [load_layer(directory, Shard(rank, 2)) for rank in range(2)]
    x = torch.randn(3, HIDDEN)
    halves = zip(x.chunk(2, dim=1), ranks, strict=True)
    total = sum(rank.o(half) for half, rank in halves)
    torch.testing.assert_close(total, whole.o(x))
    wide = torch.randn(3, 4 * HIDDEN)
    halves = zip(wide.chunk(2, dim=1), ranks, strict=True)
    total = sum(rank.down(half) for half, rank in halves)
    torch.testing.assert_close(total, whole.down(wide))


def test_each_rank_has_the_slopes_of_its_heads(directory: Path) -> None:
    config = read(directory)
    slopes = [
        BloomTransformerLayerInfer(config, TorchKernels(), Shard(rank, 3), 0).alibi_slopes
        for rank in range(3)
    ]
    assert torch.equal(torch.cat([each for each in slopes if each is not None]), alibi_slopes(6))


def test_ranks_that_cannot_share_the_heads_are_refused(directory: Path) -> None:
    with pytest.raises(CheckpointError, match="4 ranks cannot share evenly"):
        load_layer(directory, Shard(0, 4))
