"""A rank reads its own slices, and the ranks' parts together are the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from checkpoints import llama_config
from modcore.checkpoint import read_config
from modcore.engine.config_reader import ConfigReader
from modcore.engine.kernels.linear import LinearWeight, PlainLinear
from modcore.engine.kernels.reference import TorchKernels
from modcore.engine.weights import Shard
from modcore.engine.weights.loader import load_weights
from modcore.engine.weights.safetensors_files import SafetensorsFiles
from modcore.errors import CheckpointError
from modcore_llama.config import LLAMA_DEFAULTS, LlamaConfig
from modcore_llama.weights import LlamaTransformerLayerWeight

REST = (r"^(?!model\.layers\.1\.)",)


def load_layer(directory: Path, shard: Shard) -> LlamaTransformerLayerWeight:
    reader = ConfigReader(read_config(directory), "config.json", LLAMA_DEFAULTS)
    layer = LlamaTransformerLayerWeight(LlamaConfig.read(reader), 1)
    with SafetensorsFiles(directory) as files:
        load_weights(files, [layer], torch.float32, TorchKernels(), ignored=REST, shard=shard)
    return layer


def matrix(weight: LinearWeight) -> torch.Tensor:
    assert isinstance(weight, PlainLinear)
    return weight.weight


def test_two_ranks_hold_the_halves_of_every_split_weight(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(llama_config(num_key_value_heads=2, attention_bias=True))
    whole = load_layer(directory, Shard())
    first, second = (load_layer(directory, Shard(rank, 2)) for rank in (0, 1))
    q, kv = 64, 32
    for half, rows in ((first, slice(0, 16)), (second, slice(16, 32))):
        q_rows = slice(rows.start * 2, rows.stop * 2)
        parts = matrix(whole.qkv).split([q, kv, kv])
        expected = torch.cat([parts[0][q_rows], parts[1][rows], parts[2][rows]])
        assert torch.equal(matrix(half.qkv), expected)
        assert torch.equal(half.att_norm, whole.att_norm)
    assert torch.equal(torch.cat([matrix(first.o), matrix(second.o)], dim=1), matrix(whole.o))
    assert torch.equal(
        torch.cat([matrix(first.down), matrix(second.down)], dim=1), matrix(whole.down)
    )


def test_ranks_that_cannot_share_evenly_are_refused(write_checkpoint: Callable[..., Path]) -> None:
    directory = write_checkpoint(llama_config())
    with pytest.raises(CheckpointError, match="3 ranks cannot share evenly"):
        load_layer(directory, Shard(0, 3))
