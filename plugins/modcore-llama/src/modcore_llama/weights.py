"""The tensors of a Llama checkpoint: names, shapes, what fuses and what tensor parallel splits."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from modcore.engine.weights import (
    PreAndPostLayerWeight,
    TensorSpec,
    TransformerLayerWeight,
    WeightSpec,
)
from modcore_llama.config import LlamaConfig

EMBEDDING = "model.embed_tokens.weight"


class LlamaPreAndPostLayerWeight(PreAndPostLayerWeight):
    """Embedding, final norm and head. A tied head is the embedding unless the file holds another."""

    embedding: torch.Tensor  # [vocab, hidden]
    final_norm: torch.Tensor  # [hidden]
    lm_head: torch.Tensor  # [vocab, hidden]

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        config = self.config
        matrix = (config.vocab_size, config.hidden_size)
        tied = EMBEDDING if config.tie_word_embeddings else None
        yield WeightSpec("embedding", (TensorSpec(EMBEDDING, matrix, split=0),))
        yield WeightSpec("final_norm", (TensorSpec("model.norm.weight", (config.hidden_size,)),))
        yield WeightSpec("lm_head", (TensorSpec("lm_head.weight", matrix, 0, default_to=tied),))


class LlamaTransformerLayerWeight(TransformerLayerWeight):
    """One layer; q, k and v are fused, and so are gate and up."""

    config: LlamaConfig
    att_norm: torch.Tensor  # [hidden]
    qkv: torch.Tensor  # [(heads + 2 * kv_heads) * head_dim, hidden]
    o: torch.Tensor  # [hidden, heads * head_dim]
    ffn_norm: torch.Tensor  # [hidden]
    gate_up: torch.Tensor  # [2 * intermediate, hidden]
    down: torch.Tensor  # [hidden, intermediate]
    qkv_bias: torch.Tensor | None = None
    o_bias: torch.Tensor | None = None
    gate_up_bias: torch.Tensor | None = None
    down_bias: torch.Tensor | None = None

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        config = self.config
        hidden, inner = config.hidden_size, config.intermediate_size
        q = config.num_attention_heads * config.head_dim
        kv = config.num_key_value_heads * config.head_dim
        attention = {"self_attn.q_proj": q, "self_attn.k_proj": kv, "self_attn.v_proj": kv}
        mlp = {"mlp.gate_proj": inner, "mlp.up_proj": inner}

        yield WeightSpec("att_norm", (self.tensor("input_layernorm.weight", hidden),))
        yield self._columns("qkv", attention, hidden)
        yield WeightSpec("o", (self.tensor("self_attn.o_proj.weight", hidden, q, split=1),))
        yield WeightSpec("ffn_norm", (self.tensor("post_attention_layernorm.weight", hidden),))
        yield self._columns("gate_up", mlp, hidden)
        yield WeightSpec("down", (self.tensor("mlp.down_proj.weight", hidden, inner, split=1),))
        if config.attention_bias:
            yield self._biases("qkv_bias", attention)
            yield WeightSpec("o_bias", (self.tensor("self_attn.o_proj.bias", hidden),))
        if config.mlp_bias:
            yield self._biases("gate_up_bias", mlp)
            yield WeightSpec("down_bias", (self.tensor("mlp.down_proj.bias", hidden),))

    def tensor(self, name: str, *shape: int, split: int | None = None) -> TensorSpec:
        """The tensor `name` of this layer; a family with other names overrides it."""
        return TensorSpec(f"model.layers.{self.layer_num}.{name}", shape, split)

    def _columns(self, attribute: str, rows: dict[str, int], hidden: int) -> WeightSpec:
        parts = (
            self.tensor(f"{name}.weight", count, hidden, split=0) for name, count in rows.items()
        )
        return WeightSpec(attribute, tuple(parts))

    def _biases(self, attribute: str, rows: dict[str, int]) -> WeightSpec:
        parts = (self.tensor(f"{name}.bias", count, split=0) for name, count in rows.items())
        return WeightSpec(attribute, tuple(parts))
