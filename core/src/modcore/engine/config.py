"""``config.json`` as a dataclass: typed keys, aliases as data, errors that name key and file.

What a family adds (biases, a sliding window) it adds in a subclass of TextConfig.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from modcore.engine.rope import RopeParameters, read_rope
from modcore.errors import CheckpointError

#: Other spellings of a key, in the order in which they are looked for.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "n_embed"),
    "num_attention_heads": ("n_head",),
    "num_hidden_layers": ("n_layer",),
}

_MISSING: Any = object()


class ConfigReader:
    """Typed access to the JSON object of a ``config.json``.

    `defaults` are the family's values for keys that a file may leave out. Every method raises
    CheckpointError when a key is missing without a default, or has the wrong type or range.
    """

    def __init__(
        self, raw: Mapping[str, Any], source: str, defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.raw, self.source = raw, source
        self._defaults = defaults or {}

    def value(self, key: str) -> Any:
        """The value of `key` or of one of its aliases; the default when none is there."""
        for name in (key, *ALIASES.get(key, ())):
            if name in self.raw:
                return self.raw[name]
        default = self._defaults.get(key, _MISSING)
        if default is _MISSING:
            raise self.error(key, "is missing; add it, or fetch the original config.json")
        return default

    def integer(self, key: str, minimum: int = 1) -> int:
        """A whole number of at least `minimum`."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.error(
                key, f"is {value!r} where a whole number of at least {minimum} is expected"
            )
        return value

    def optional_integer(self, key: str) -> int | None:
        """A whole number of at least 1, or None."""
        return None if self.value(key) is None else self.integer(key)

    def number(self, key: str) -> float:
        """A positive number."""
        value = self.value(key)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 < value < float("inf")
        ):
            raise self.error(key, f"is {value!r} where a positive number is expected")
        return float(value)

    def boolean(self, key: str) -> bool:
        """True or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r} where true or false is expected")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of `choices`."""
        value = self.value(key)
        if value not in choices:
            raise self.error(
                key, f"is {value!r}, which is not served; served are {', '.join(choices)}"
            )
        return str(value)

    def error(self, key: str, problem: str) -> CheckpointError:
        """The error for `key`."""
        return CheckpointError(f"{self.source}: {key} {problem}.")


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
            rope=read_rope(reader.raw, reader.source, reader.integer("max_position_embeddings")),
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
