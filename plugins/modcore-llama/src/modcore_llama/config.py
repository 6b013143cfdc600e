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
    """Llama: projections may have biases; attention sees the whole context.

    `attention_bias` is that of q, k and v, `output_bias` that of the output projection; `has_qk_norm`
    says that q and k are normed head by head before they are rotated.
    """

    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    has_qk_norm: bool = False

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_extra`."""
        return {
            "attention_bias": reader.boolean("attention_bias"),
            "output_bias": reader.boolean("attention_bias"),
            "mlp_bias": reader.boolean("mlp_bias"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MistralConfig(LlamaConfig):
    """Mistral: no biases, and attention through a sliding window unless it is null."""

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_extra`."""
        return {"sliding_window": reader.optional_integer("sliding_window")}


QWEN2_DEFAULTS = {
    **LLAMA_DEFAULTS,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "layer_types": None,
}

QWEN3_DEFAULTS = {**QWEN2_DEFAULTS, "head_dim": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen2Config(LlamaConfig):
    """Qwen2 (arXiv 2407.10671): q, k and v have biases; some layers may have a sliding window."""

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_extra`."""
        return {"attention_bias": True, **_windows(reader)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3Config(LlamaConfig):
    """Qwen3 (arXiv 2505.09388): q and k are normed; biases only where the config says so."""

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_extra`."""
        bias = reader.boolean("attention_bias")
        return {
            "attention_bias": bias,
            "output_bias": bias,
            "has_qk_norm": True,
            **_windows(reader),
        }


def _windows(reader: ConfigReader) -> dict[str, Any]:
    """The sliding window and the layers without one, as transformers reads them."""
    if not reader.boolean("use_sliding_window"):
        return {}
    window = reader.optional_integer("sliding_window")
    layers = reader.integer("num_hidden_layers")
    kinds = reader.value("layer_types")
    if kinds is None:
        full = frozenset(range(min(reader.integer("max_window_layers", minimum=0), layers)))
        return {"sliding_window": window, "full_layers": full}
    known = ("full_attention", "sliding_attention")
    if not isinstance(kinds, list) or len(kinds) != layers or any(k not in known for k in kinds):
        raise reader.error(
            "layer_types", f"is {kinds!r:.200} where {layers} of {' and '.join(known)} are expected"
        )
    full = frozenset(layer for layer, kind in enumerate(kinds) if kind == known[0])
    return {"sliding_window": window, "full_layers": full}
