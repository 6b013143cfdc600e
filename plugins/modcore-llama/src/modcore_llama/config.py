"""What Llama configs hold beyond every text model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modcore.engine.config import RotaryTextConfig
from modcore.engine.config_reader import ConfigReader

#: What transformers fills in when a config.json leaves it out.
LLAMA_DEFAULTS = {
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}

MISTRAL_DEFAULTS = {
    **LLAMA_DEFAULTS,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096 * 32,
    "sliding_window": 4096,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig(RotaryTextConfig):
    """Llama: projections may have biases; attention sees the whole context."""

    attention_bias: bool = False
    mlp_bias: bool = False

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_extra`."""
        return {
            "attention_bias": reader.boolean("attention_bias"),
            "mlp_bias": reader.boolean("mlp_bias"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MistralConfig(LlamaConfig):
    """Mistral: no biases, and attention through a sliding window unless it is null."""

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_extra`."""
        return {"sliding_window": reader.optional_integer("sliding_window")}
