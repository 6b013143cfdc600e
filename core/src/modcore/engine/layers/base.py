"""The infer layers' two entrances (seed: *adding a model*): prefill and decode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from modcore.engine.config import TextConfig
from modcore.engine.kernels import Kernels
from modcore.engine.state import InferStateInfo
from modcore.engine.weights import Shard


class BaseLayerInfer(ABC):
    """A layer without weights of its own; `layer_weight` is the weight class that goes with it."""

    def __init__(self, config: TextConfig, kernels: Kernels, shard: Shard) -> None:
        self.config = config
        self.kernels = kernels
        self.heads = config.num_attention_heads // shard.world_size  # this rank's
        self.kv_heads = config.num_key_value_heads // shard.world_size

    @abstractmethod
    def context_forward(
        self, inputs: torch.Tensor, infer_state: InferStateInfo, layer_weight: Any
    ) -> torch.Tensor:
        """A step in which prompts are read: their chunks, behind one token of each running answer."""

    @abstractmethod
    def token_forward(
        self, inputs: torch.Tensor, infer_state: InferStateInfo, layer_weight: Any
    ) -> torch.Tensor:
        """A step in which every request has one new token."""


class PreLayerInfer(BaseLayerInfer):
    """From ids ``[T]`` to the residual stream ``[T, hidden]``, in memory of its own."""


class TransformerLayerInfer(BaseLayerInfer):
    """Transformer layer `layer_num`: residual stream to residual stream, ``[T, hidden]``."""

    def __init__(self, config: TextConfig, kernels: Kernels, shard: Shard, layer_num: int) -> None:
        super().__init__(config, kernels, shard)
        self.layer_num = layer_num


class PostLayerInfer(BaseLayerInfer):
    """From the residual stream to the logits that are asked for, ``[logits, vocab]``."""
