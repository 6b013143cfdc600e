"""How a batch passes through Llama's parts."""

from __future__ import annotations

import torch

from modcore.engine.layers import PostLayerInferTpl, PreLayerInfer, TransformerLayerInferTpl
from modcore.engine.state import InferStateInfo
from modcore_llama.config import LlamaConfig
from modcore_llama.state import LlamaInferStateInfo
from modcore_llama.weights import LlamaPreAndPostLayerWeight, LlamaTransformerLayerWeight


class LlamaPreLayerInfer(PreLayerInfer):
    """The embedding."""

    def context_forward(
        self,
        inputs: torch.Tensor,
        infer_state: InferStateInfo,
        layer_weight: LlamaPreAndPostLayerWeight,
    ) -> torch.Tensor:
        """See `PreLayerInfer`."""
        return self.kernels.embedding(inputs, layer_weight.embedding)

    token_forward = context_forward


class LlamaTransformerLayerInfer(TransformerLayerInferTpl):
    """RMS norms, rotary positions, fused projections, a gated MLP."""

    config: LlamaConfig

    def _att_norm(
        self, x: torch.Tensor, state: InferStateInfo, weight: LlamaTransformerLayerWeight
    ) -> torch.Tensor:
        return self.kernels.rms_norm(x, weight.att_norm, self.config.norm_eps)

    def _get_qkv(
        self, x: torch.Tensor, state: InferStateInfo, weight: LlamaTransformerLayerWeight
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        assert isinstance(state, LlamaInferStateInfo)
        fused = weight.qkv(x)
        heads = fused.view(len(x), -1, self.config.head_dim)  # [T, H + 2 * K, D]
        q, k, v = heads.split_with_sizes([self.heads, self.kv_heads, self.kv_heads], dim=1)
        if weight.q_norm is not None and weight.k_norm is not None:
            q = self.kernels.rms_norm(q, weight.q_norm, self.config.norm_eps)
            k = self.kernels.rms_norm(k, weight.k_norm, self.config.norm_eps)
        q = self.kernels.rotary(q, state.cos, state.sin)
        return q, self.kernels.rotary(k, state.cos, state.sin), v

    def _get_o(
        self, x: torch.Tensor, state: InferStateInfo, weight: LlamaTransformerLayerWeight
    ) -> torch.Tensor:
        return weight.o(x.flatten(1))

    def _ffn_norm(
        self, x: torch.Tensor, state: InferStateInfo, weight: LlamaTransformerLayerWeight
    ) -> torch.Tensor:
        return self.kernels.rms_norm(x, weight.ffn_norm, self.config.norm_eps)

    def _ffn(
        self, x: torch.Tensor, state: InferStateInfo, weight: LlamaTransformerLayerWeight
    ) -> torch.Tensor:
        gate_up = weight.gate_up(x)
        inner = self.kernels.gated_activation(gate_up, self.config.hidden_act)
        return weight.down(inner)


class LlamaPostLayerInfer(PostLayerInferTpl):
    """The final norm and the head."""

    config: LlamaConfig

    def _final_norm(self, x: torch.Tensor, weight: LlamaPreAndPostLayerWeight) -> torch.Tensor:
        return self.kernels.rms_norm(x, weight.final_norm, self.config.norm_eps)
