"""``config.json`` as a dataclass.

A family declares what it adds (biases, an epsilon of its own) in a subclass: of TextConfig, or of
RotaryTextConfig when it is built like Llama.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from modcore.engine.config_reader import ConfigReader
from modcore.engine.rope import RopeParameters, read_rope


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """What the engine needs to know of every decoder-only text model.

    `context_length` is the most tokens, prompt and answer together, that the model is made for;
    `full_layers` are those that see all of it although there is a `sliding_window`.
    """

    #: Whether positions beyond `context_length` are undefined; if not, more may be asked for.
    context_is_fixed: ClassVar[bool] = True

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    context_length: int
    tie_word_embeddings: bool
    sliding_window: int | None = None
    full_layers: frozenset[int] = frozenset()

    def sliding_window_of(self, layer: int) -> int | None:
        """How many tokens a token of `layer` sees, itself the last; None: all."""
        return None if layer in self.full_layers else self.sliding_window

    @classmethod
    def read(cls, reader: ConfigReader) -> Self:
        """Read all keys: those of the kind of model (`read_common`), then the family's (`read_extra`).

        Raises CheckpointError, with key and file, for a value that is missing or makes no sense.
        """
        return cls(**cls.read_common(reader), **cls.read_extra(reader))

    @classmethod
    def read_common(cls, reader: ConfigReader) -> dict[str, Any]:
        """The keys that every model of this kind has, as the constructor takes them."""
        heads = reader.integer("num_attention_heads")
        hidden_size = reader.integer("hidden_size")
        return {
            "vocab_size": reader.integer("vocab_size"),
            "hidden_size": hidden_size,
            "num_hidden_layers": reader.integer("num_hidden_layers"),
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": hidden_size // heads,
            "tie_word_embeddings": reader.boolean("tie_word_embeddings"),
        }

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """The keys that a family adds, as its constructor takes them."""
        del reader  # nothing is added here
        return {}


#: Activations that the kernels have; names as transformers spells them.
ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaryTextConfig(TextConfig):
    """What models with rotary positions, RMS norms and a gated MLP declare, as Llama does."""

    intermediate_size: int
    max_position_embeddings: int
    norm_eps: float
    hidden_act: str
    rope: RopeParameters

    @classmethod
    def read_common(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_common`."""
        # Named in full: a dataclass with slots is another class than the one that super() knows.
        common = super(RotaryTextConfig, cls).read_common(reader)
        common |= {
            "num_key_value_heads": reader.optional_integer("num_key_value_heads")
            or common["num_attention_heads"],
            "head_dim": reader.optional_integer("head_dim") or common["head_dim"],
        }
        positions = reader.integer("max_position_embeddings")
        rope = read_rope(reader)
        _verify_heads(common, rope, reader)
        return common | {
            "intermediate_size": reader.integer("intermediate_size"),
            "max_position_embeddings": positions,
            "context_length": rope.context_length(positions),
            "norm_eps": reader.number("rms_norm_eps"),
            "hidden_act": reader.choice("hidden_act", ACTIVATIONS),
            "rope": rope,
        }


def _verify_heads(common: dict[str, Any], rope: RopeParameters, reader: ConfigReader) -> None:
    heads, kv_heads = common["num_attention_heads"], common["num_key_value_heads"]
    if heads % kv_heads:
        raise reader.error(
            "num_key_value_heads",
            f"is {kv_heads}, which does not divide num_attention_heads {heads}",
        )
    if common["head_dim"] % 2:
        raise reader.error(
            "head_dim", f"is {common['head_dim']}; rotary embeddings need an even number"
        )
    if rope.is_dynamic and common["head_dim"] == 2:
        raise reader.error("head_dim", "is 2, for which dynamic rope is not defined")
