"""The tensors of a Llama checkpoint: names, shapes, what fuses and what tensor parallel splits."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from modcore.engine.kernels import LinearWeight, RowTable
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

    embedding: torch.Tensor | RowTable  # [vocab, hidden]
    final_norm: torch.Tensor  # [hidden]
    lm_head: LinearWeight  # [vocab, hidden]

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        config = self.config
        matrix = (config.vocab_size, config.hidden_size)
        tied = EMBEDDING if config.tie_word_embeddings else None
        yield WeightSpec("embedding", (TensorSpec(EMBEDDING, matrix, split=0),))
        yield WeightSpec("final_norm", (TensorSpec("model.norm.weight", (config.hidden_size,)),))
        head = TensorSpec("lm_head.weight", matrix, split=0, default_to=tied)
        yield WeightSpec("lm_head", (head,), linear=True, same_as="embedding")


class LlamaTransformerLayerWeight(TransformerLayerWeight):
    """One layer; q, k and v are fused, and so are gate and up."""

    config: LlamaConfig
    att_norm: torch.Tensor  # [hidden]
    qkv: LinearWeight  # [(heads + 2 * kv_heads) * head_dim, hidden]
    q_norm: torch.Tensor | None = None  # [head_dim], where the config has them
    k_norm: torch.Tensor | None = None
    o: LinearWeight  # [hidden, heads * head_dim]
    ffn_norm: torch.Tensor  # [hidden]
    gate_up: LinearWeight  # [2 * intermediate, hidden]
    down: LinearWeight  # [hidden, intermediate]

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        config = self.config
        hidden, inner = config.hidden_size, config.intermediate_size
        q = config.num_attention_heads * config.head_dim
        kv = config.num_key_value_heads * config.head_dim
        attention = {"self_attn.q_proj": q, "self_attn.k_proj": kv, "self_attn.v_proj": kv}
        mlp = {"mlp.gate_proj": inner, "mlp.up_proj": inner}

        yield WeightSpec("att_norm", (self.tensor("input_layernorm.weight", hidden),))
        yield self._columns("qkv", attention, hidden, bias=config.attention_bias)
        if config.has_qk_norm:
            yield WeightSpec("q_norm", (self.tensor("self_attn.q_norm.weight", config.head_dim),))
            yield WeightSpec("k_norm", (self.tensor("self_attn.k_norm.weight", config.head_dim),))
        yield self._rows("o", "self_attn.o_proj", hidden, q, bias=config.output_bias)
        yield WeightSpec("ffn_norm", (self.tensor("post_attention_layernorm.weight", hidden),))
        yield self._columns("gate_up", mlp, hidden, bias=config.mlp_bias)
        yield self._rows("down", "mlp.down_proj", hidden, inner, bias=config.mlp_bias)

    def tensor(
        self, name: str, *shape: int, split: int | None = None, once: bool = False
    ) -> TensorSpec:
        """The tensor `name` of this layer; a family with other names overrides it."""
        return TensorSpec(f"model.layers.{self.layer_num}.{name}", shape, split, once=once)

    def _columns(
        self, attribute: str, rows: dict[str, int], hidden: int, *, bias: bool
    ) -> WeightSpec:
        """Projections that are fused, and whose outputs the ranks share."""
        items = rows.items()
        parts = [self.tensor(f"{name}.weight", count, hidden, split=0) for name, count in items]
        biases = [self.tensor(f"{name}.bias", count, split=0) for name, count in items if bias]
        return WeightSpec(attribute, tuple(parts), linear=True, bias=tuple(biases))

    def _rows(self, attribute: str, name: str, out: int, inner: int, *, bias: bool) -> WeightSpec:
        """A projection whose inputs the ranks share: what they make of them is summed, its bias once."""
        part = self.tensor(f"{name}.weight", out, inner, split=1)
        biases = (self.tensor(f"{name}.bias", out, once=True),) if bias else ()
        return WeightSpec(attribute, (part,), linear=True, bias=biases)
