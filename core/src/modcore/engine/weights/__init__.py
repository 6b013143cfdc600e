"""Weights: what a model declares, where it lies in the checkpoint, and the account of the two.

Knows files and tensors; nothing of how they are used.
"""

from modcore.engine.weights.base import (
    LayerWeight,
    PreAndPostLayerWeight,
    TransformerLayerWeight,
)
from modcore.engine.weights.declaration import Shard, TensorSpec, WeightSpec

__all__ = [
    "LayerWeight",
    "PreAndPostLayerWeight",
    "Shard",
    "TensorSpec",
    "TransformerLayerWeight",
    "WeightSpec",
]
