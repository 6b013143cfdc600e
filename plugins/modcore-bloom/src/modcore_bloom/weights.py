"""The tensors of a Bloom checkpoint: names, shapes, how q, k and v lie, what tensor parallel splits."""

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
from modcore_bloom.config import BloomConfig


class BloomPreAndPostLayerWeight(PreAndPostLayerWeight):
    """Embedding and its norm, final norm, head. A tied head is the embedding unless the file holds another."""

    config: BloomConfig
    embedding: torch.Tensor | RowTable  # [vocab, hidden]
    embedding_norm: torch.Tensor  # [hidden]
    embedding_norm_bias: torch.Tensor  # [hidden]
    final_norm: torch.Tensor  # [hidden]
    final_norm_bias: torch.Tensor  # [hidden]
    lm_head: LinearWeight  # [vocab, hidden]

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        config = self.config
        matrix = (config.vocab_size, config.hidden_size)
        embedding = f"{config.name_prefix}word_embeddings.weight"
        tied = embedding if config.tie_word_embeddings else None
        yield WeightSpec("embedding", (TensorSpec(embedding, matrix, split=0),))
        yield from self._norm("embedding_norm", "word_embeddings_layernorm")
        yield from self._norm("final_norm", "ln_f")
        head = TensorSpec("lm_head.weight", matrix, split=0, default_to=tied)
        yield WeightSpec("lm_head", (head,), linear=True, same_as="embedding")

    def _norm(self, attribute: str, name: str) -> Iterator[WeightSpec]:
        name, shape = f"{self.config.name_prefix}{name}", (self.config.hidden_size,)
        yield WeightSpec(attribute, (TensorSpec(f"{name}.weight", shape),))
        yield WeightSpec(f"{attribute}_bias", (TensorSpec(f"{name}.bias", shape),))


class BloomTransformerLayerWeight(TransformerLayerWeight):
    """One layer. The file holds q, k and v head by head, ``[heads, 3, head_dim]``; here they follow each other."""

    config: BloomConfig
    att_norm: torch.Tensor  # [hidden]
    att_norm_bias: torch.Tensor  # [hidden]
    qkv: LinearWeight  # [3 * heads * head_dim, hidden]
    o: LinearWeight  # [hidden, heads * head_dim]
    ffn_norm: torch.Tensor  # [hidden]
    ffn_norm_bias: torch.Tensor  # [hidden]
    up: LinearWeight  # [4 * hidden, hidden]
    down: LinearWeight  # [hidden, 4 * hidden]

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        hidden = self.config.hidden_size
        heads = (self.config.head_dim,) * 3  # a head's rows of q, of k, of v
        yield from self._norm("att_norm", "input_layernorm")
        yield self._columns("qkv", "self_attention.query_key_value", 3 * hidden, heads)
        yield self._rows("o", "self_attention.dense", hidden)
        yield from self._norm("ffn_norm", "post_attention_layernorm")
        yield self._columns("up", "mlp.dense_h_to_4h", 4 * hidden)
        yield self._rows("down", "mlp.dense_4h_to_h", 4 * hidden)

    def _norm(self, attribute: str, name: str) -> Iterator[WeightSpec]:
        shape = (self.config.hidden_size,)
        yield WeightSpec(attribute, (TensorSpec(self._name(name, "weight"), shape),))
        yield WeightSpec(f"{attribute}_bias", (TensorSpec(self._name(name, "bias"), shape),))

    def _columns(
        self, attribute: str, name: str, outputs: int, interleaved: tuple[int, ...] = ()
    ) -> WeightSpec:
        """A projection whose outputs the ranks share."""
        shape = (outputs, self.config.hidden_size)
        weight, bias = (
            TensorSpec(self._name(name, kind), size, split=0, interleaved=interleaved)
            for kind, size in (("weight", shape), ("bias", shape[:1]))
        )
        return WeightSpec(attribute, (weight,), linear=True, bias=(bias,))

    def _rows(self, attribute: str, name: str, inputs: int) -> WeightSpec:
        """A projection whose inputs the ranks share: what they make of them is summed, its bias once."""
        shape = (self.config.hidden_size, inputs)
        weight = TensorSpec(self._name(name, "weight"), shape, split=1)
        bias = TensorSpec(self._name(name, "bias"), shape[:1], once=True)
        return WeightSpec(attribute, (weight,), linear=True, bias=(bias,))

    def _name(self, module: str, kind: str) -> str:
        return f"{self.config.name_prefix}h.{self.layer_num}.{module}.{kind}"
