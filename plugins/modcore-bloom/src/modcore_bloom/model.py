"""The model class of the family: its parts, and how its files are spelled."""

from __future__ import annotations

from dataclasses import replace

from modcore.engine.model import TpPartBaseModel
from modcore.engine.weights.safetensors_files import SafetensorsFiles
from modcore_bloom.config import BLOOM_DEFAULTS, BloomConfig
from modcore_bloom.layers import (
    BloomPostLayerInfer,
    BloomPreLayerInfer,
    BloomTransformerLayerInfer,
)
from modcore_bloom.weights import BloomPreAndPostLayerWeight, BloomTransformerLayerWeight


class BloomModel(TpPartBaseModel):
    """`BloomForCausalLM` (arXiv 2211.05100)."""

    family = "bloom"
    config_class = BloomConfig
    config_defaults = BLOOM_DEFAULTS

    pre_and_post_weight_class = BloomPreAndPostLayerWeight
    transformer_weight_class = BloomTransformerLayerWeight
    pre_layer_infer_class = BloomPreLayerInfer
    transformer_layer_infer_class = BloomTransformerLayerInfer
    post_layer_infer_class = BloomPostLayerInfer

    config: BloomConfig

    def _inspect_files(self, files: SafetensorsFiles) -> None:
        """The published files name their tensors without ``transformer.``, transformers with it."""
        prefix = self.config.name_prefix
        if not any(name.startswith(prefix) for name in files.tensors):
            self.config = replace(self.config, name_prefix="")
