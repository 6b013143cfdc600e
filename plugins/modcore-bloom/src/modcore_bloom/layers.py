"""How a batch passes through Bloom's parts."""

from __future__ import annotations

import torch

from modcore.engine.kernels import Kernels
from modcore.engine.layers import PostLayerInferTpl, PreLayerInfer, TransformerLayerInferTpl
from modcore.engine.state import InferStateInfo
from modcore.engine.weights import Shard
from modcore_bloom.alibi import alibi_slopes
from modcore_bloom.config import BloomConfig
from modcore_bloom.weights import BloomPreAndPostLayerWeight, BloomTransformerLayerWeight


class BloomPreLayerInfer(PreLayerInfer):
    """The embedding and its norm."""

    config: BloomConfig

    def context_forward(
        self,
        inputs: torch.Tensor,
        infer_state: InferStateInfo,
        layer_weight: BloomPreAndPostLayerWeight,
    ) -> torch.Tensor:
        """See `PreLayerInfer`."""
        norm, bias = layer_weight.embedding_norm, layer_weight.embedding_norm_bias
        embedded = self.kernels.embedding(inputs, layer_weight.embedding)
        return self.kernels.layer_norm(embedded, norm, bias, self.config.norm_eps)

    token_forward = context_forward


class BloomTransformerLayerInfer(TransformerLayerInferTpl):
    """Layer norms, heads whose attention falls with the distance, a plain MLP."""

    config: BloomConfig

    def __init__(self, config: BloomConfig, kernels: Kernels, shard: Shard, layer_num: int) -> None:
        super().__init__(config, kernels, shard, layer_num)
        heads = config.num_attention_heads
        self.alibi_slopes = alibi_slopes(heads)[shard.span(heads, "The attention (n_head)")]

    def _att_norm(
        self, x: torch.Tensor, state: InferStateInfo, weight: BloomTransformerLayerWeight
    ) -> torch.Tensor:
        return self.kernels.layer_norm(
            x, weight.att_norm, weight.att_norm_bias, self.config.norm_eps
        )

    def _get_qkv(
        self, x: torch.Tensor, state: InferStateInfo, weight: BloomTransformerLayerWeight
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fused = weight.qkv(x)
        q, k, v = fused.view(len(x), 3, self.heads, self.config.head_dim).unbind(1)  # [T, H, D]
        return q, k, v

    def _get_o(
        self, x: torch.Tensor, state: InferStateInfo, weight: BloomTransformerLayerWeight
    ) -> torch.Tensor:
        return weight.o(x.flatten(1))

    def _ffn_norm(
        self, x: torch.Tensor, state: InferStateInfo, weight: BloomTransformerLayerWeight
    ) -> torch.Tensor:
        return self.kernels.layer_norm(
            x, weight.ffn_norm, weight.ffn_norm_bias, self.config.norm_eps
        )

    def _ffn(
        self, x: torch.Tensor, state: InferStateInfo, weight: BloomTransformerLayerWeight
    ) -> torch.Tensor:
        inner = self.kernels.activation(weight.up(x), "gelu_pytorch_tanh")
        return weight.down(inner)

    def _residual(self, x: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        return normed if self.config.residual_after_norm else x


class BloomPostLayerInfer(PostLayerInferTpl):
    """The final norm and the head."""

    config: BloomConfig

    def _final_norm(self, x: torch.Tensor, weight: BloomPreAndPostLayerWeight) -> torch.Tensor:
        norm, bias = weight.final_norm, weight.final_norm_bias
        return self.kernels.layer_norm(x, norm, bias, self.config.norm_eps)
