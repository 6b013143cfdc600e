"""Infer layers: how a batch passes through the embedding, a transformer layer and the head.

`base` says what a layer offers, `template` is the shape that most families share.
Stateless by layer: weights and the state of the batch are handed in.
"""

from modcore.engine.layers.base import (
    BaseLayerInfer,
    PostLayerInfer,
    PreLayerInfer,
    TransformerLayerInfer,
)
from modcore.engine.layers.template import PostLayerInferTpl, TransformerLayerInferTpl

__all__ = [
    "BaseLayerInfer",
    "PostLayerInfer",
    "PostLayerInferTpl",
    "PreLayerInfer",
    "TransformerLayerInfer",
    "TransformerLayerInferTpl",
]
