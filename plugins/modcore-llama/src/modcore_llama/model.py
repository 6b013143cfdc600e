"""The model classes of the family: parts, defaults, flags."""

from __future__ import annotations

import torch

from modcore.engine.model import TpPartBaseModel
from modcore.engine.rope import inverse_frequencies
from modcore_llama.config import (
    LLAMA_DEFAULTS,
    MISTRAL_DEFAULTS,
    QWEN2_DEFAULTS,
    QWEN3_DEFAULTS,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)
from modcore_llama.layers import (
    LlamaPostLayerInfer,
    LlamaPreLayerInfer,
    LlamaTransformerLayerInfer,
)
from modcore_llama.state import LlamaInferStateInfo
from modcore_llama.weights import LlamaPreAndPostLayerWeight, LlamaTransformerLayerWeight


class LlamaModel(TpPartBaseModel):
    """`LlamaForCausalLM` (arXiv 2302.13971, 2307.09288, 2407.21783)."""

    family = "llama"
    config_class = LlamaConfig
    config_defaults = LLAMA_DEFAULTS
    # Old checkpoints stored the rotary frequencies, which follow from the config.
    ignored_tensors = (r"^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$",)

    pre_and_post_weight_class = LlamaPreAndPostLayerWeight
    transformer_weight_class = LlamaTransformerLayerWeight
    pre_layer_infer_class = LlamaPreLayerInfer
    transformer_layer_infer_class = LlamaTransformerLayerInfer
    post_layer_infer_class = LlamaPostLayerInfer
    infer_state_class = LlamaInferStateInfo

    config: LlamaConfig

    def _init_custom(self) -> None:
        """The rotary frequencies, ``[head_dim / 2]``; dynamic ones are computed for each pass."""
        self.keys_are_reusable = not self.config.rope.is_dynamic
        self.inv_freq, self.rope_attention_factor = torch.empty(0), 1.0
        if not self.config.rope.is_dynamic:
            self.inv_freq, self.rope_attention_factor = inverse_frequencies(
                self.config.rope, self.config.head_dim
            )


class MistralModel(LlamaModel):
    """`MistralForCausalLM` (arXiv 2310.06825): Llama through a sliding window."""

    config_class = MistralConfig
    config_defaults = MISTRAL_DEFAULTS


class Qwen2Model(LlamaModel):
    """`Qwen2ForCausalLM` (arXiv 2407.10671): Llama whose q, k and v have biases."""

    config_class = Qwen2Config
    config_defaults = QWEN2_DEFAULTS


class Qwen3Model(LlamaModel):
    """`Qwen3ForCausalLM` (arXiv 2505.09388): Llama whose q and k are normed head by head."""

    config_class = Qwen3Config
    config_defaults = QWEN3_DEFAULTS
