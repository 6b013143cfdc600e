"""Quantised weights: the same declarations, another format.

The head decides between words that are close to each other, so it keeps 8 bits when the layers have 4.
"""

from __future__ import annotations

from modcore_bloom.weights import BloomPreAndPostLayerWeight, BloomTransformerLayerWeight


class Int8PreAndPostLayerWeight(BloomPreAndPostLayerWeight):
    """``bloom.pre_post.int8`` and ``.int4``: a head of 8 bits."""

    linear_format = "int8"


class Int8TransformerLayerWeight(BloomTransformerLayerWeight):
    """``bloom.transformer.int8``."""

    linear_format = "int8"


class Int4TransformerLayerWeight(BloomTransformerLayerWeight):
    """``bloom.transformer.int4``."""

    linear_format = "int4"
