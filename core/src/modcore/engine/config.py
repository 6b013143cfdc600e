"""``config.json`` as a dataclass.

What a family adds (biases, a sliding window) it adds in a subclass of TextConfig.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from modcore.engine.config_reader import ConfigReader
from modcore.engine.rope import RopeParameters, read_rope


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """What every decoder-only text model declares."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    norm_eps: float
    hidden_act: str
    tie_word_embeddings: bool
    rope: RopeParameters
    sliding_window: int | None = None

    @property
    def context_length(self) -> int:
        """The most tokens, prompt and answer together, that the model is made for."""
        return self.rope.context_length(self.max_position_embeddings)

    @classmethod
    def read(cls, reader: ConfigReader) -> Self:
        """Read the keys of this class, and of a subclass through `read_extra`."""
        heads = reader.integer("num_attention_heads")
        hidden_size = reader.integer("hidden_size")
        config = cls(
            vocab_size=reader.integer("vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=reader.integer("intermediate_size"),
            num_hidden_layers=reader.integer("num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=reader.optional_integer("num_key_value_heads") or heads,
            head_dim=reader.optional_integer("head_dim") or hidden_size // heads,
            max_position_embeddings=reader.integer("max_position_embeddings"),
            norm_eps=reader.number("rms_norm_eps"),
            hidden_act=reader.choice("hidden_act", ACTIVATIONS),
            tie_word_embeddings=reader.boolean("tie_word_embeddings"),
            rope=read_rope(reader),
            **cls.read_extra(reader),
        )
        _verify_heads(config, reader)
        return config

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """The keys that a subclass adds, as its constructor takes them."""
        del reader  # nothing is added here
        return {}


#: Activations that the kernels have; names as transformers spells them.
ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")


def _verify_heads(config: TextConfig, reader: ConfigReader) -> None:
    if config.num_attention_heads % config.num_key_value_heads:
        raise reader.error(
            "num_key_value_heads",
            f"is {config.num_key_value_heads}, which does not divide num_attention_heads {config.num_attention_heads}",
        )
    if config.head_dim % 2:
        raise reader.error(
            "head_dim", f"is {config.head_dim}; rotary embeddings need an even number"
        )
    if config.rope.is_dynamic and config.head_dim == 2:
        raise reader.error("head_dim", "is 2, for which dynamic rope is not defined")
