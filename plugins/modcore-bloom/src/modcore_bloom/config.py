"""What Bloom configs hold beyond every text model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modcore.engine.config import TextConfig
from modcore.engine.config_reader import ConfigReader

#: The context of a config.json that names none: what the published models were trained with.
TRAINED_LENGTH = 2048

#: What transformers fills in when a config.json leaves it out.
BLOOM_DEFAULTS = {
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "apply_residual_connection_post_layernorm": False,
    "pretraining_tp": 1,
    "slow_but_exact": False,
    "seq_length": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BloomConfig(TextConfig):
    """Bloom: layer norms with biases, and positions without an end.

    `residual_after_norm` is ``apply_residual_connection_post_layernorm``: attention and MLP are
    added to their normed input. `name_prefix` stands before the names of the stored tensors; it is
    seen in the files, not in ``config.json``.
    """

    context_is_fixed: ClassVar[bool] = False

    norm_eps: float
    residual_after_norm: bool
    name_prefix: str = "transformer."

    @classmethod
    def read_extra(cls, reader: ConfigReader) -> dict[str, Any]:
        """See `TextConfig.read_extra`."""
        _verify_heads(reader)
        _verify_exactness(reader)
        return {
            "context_length": reader.optional_integer("seq_length") or TRAINED_LENGTH,
            "norm_eps": reader.number("layer_norm_epsilon"),
            "residual_after_norm": reader.boolean("apply_residual_connection_post_layernorm"),
        }


def _verify_heads(reader: ConfigReader) -> None:
    hidden, heads = reader.integer("hidden_size"), reader.integer("num_attention_heads")
    if hidden % heads:
        raise reader.error(
            "hidden_size", f"is {hidden}, which num_attention_heads {heads} does not divide"
        )


def _verify_exactness(reader: ConfigReader) -> None:
    """Refuse what transformers computes without the biases of the two output projections."""
    if reader.boolean("slow_but_exact") and reader.integer("pretraining_tp") > 1:
        raise reader.error(
            "slow_but_exact",
            "is true with a pretraining_tp above 1, which is not served; "
            "set it to false, which computes the same sums in another order",
        )
