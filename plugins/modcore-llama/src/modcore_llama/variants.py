"""Quantised weights: the same declarations, another format.

The head decides between words that are close to each other, so it keeps 8 bits when the layers have 4.
"""

from __future__ import annotations

from modcore_llama.weights import LlamaPreAndPostLayerWeight, LlamaTransformerLayerWeight


class Int8PreAndPostLayerWeight(LlamaPreAndPostLayerWeight):
    """``llama.pre_post.int8`` and ``.int4``: a head of 8 bits."""

    linear_format = "int8"


class Int8TransformerLayerWeight(LlamaTransformerLayerWeight):
    """``llama.transformer.int8``."""

    linear_format = "int8"


class Int4TransformerLayerWeight(LlamaTransformerLayerWeight):
    """``llama.transformer.int4``."""

    linear_format = "int4"
