"""Rotary position embeddings: every scaling that transformers accepts for Llama but longrope.

Both spellings of the configuration are read: ``rope_parameters`` (transformers 5), and
``rope_theta`` with ``rope_scaling`` (transformers 4).

Sources: RoFormer (arXiv 2104.09864); position interpolation (arXiv 2306.15595); NTK-aware and dynamic
scaling and YaRN (arXiv 2309.00071); the llama3 scaling of Llama 3.1's release.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from modcore.engine.config_reader import ConfigReader

ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeParameters:
    """The rope section of a config; keys keep transformers' names."""

    rope_type: str = "default"
    rope_theta: float = 10000.0
    factor: float = 1.0
    original_max_position_embeddings: int = 0
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    @property
    def is_dynamic(self) -> bool:
        """Whether the frequencies depend on the length of the sequence."""
        return self.rope_type == "dynamic"

    def context_length(self, max_position_embeddings: int) -> int:
        """The context in tokens: dynamic scaling stretches it by its factor."""
        return (
            int(max_position_embeddings * self.factor)
            if self.is_dynamic
            else max_position_embeddings
        )


_BESIDE = ("rope_theta", "partial_rotary_factor")  # where transformers 4 wrote them
_DEFAULTS: Mapping[str, Any] = {
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "attention_factor": None,
    "beta_fast": None,
    "beta_slow": None,
    "mscale": None,
    "mscale_all_dim": None,
    "truncate": True,
}


def read_rope(reader: ConfigReader) -> RopeParameters:
    """The rope parameters of a ``config.json`` in either spelling.

    Raises CheckpointError for a type that is not served and for a parameter that is missing or no
    number in its range.
    """
    raw = reader.raw
    sections = [raw[key] for key in ("rope_scaling", "rope_parameters") if raw.get(key) is not None]
    section: Any = next((each for each in sections if each != {}), {})
    if not isinstance(section, Mapping) or any(isinstance(v, Mapping) for v in section.values()):
        raise reader.error(
            "rope_parameters", "is no object of numbers; one for each layer type is not served"
        )
    values = {key: raw[key] for key in _BESIDE if raw.get(key) is not None}
    values |= {key: value for key, value in section.items() if value is not None}
    positions = reader.integer("max_position_embeddings")
    if raw.get("original_max_position_embeddings"):
        # Some checkpoints keep the pretraining length beside the rope section; there it wins.
        values["original_max_position_embeddings"] = raw["original_max_position_embeddings"]
    defaults = {**_DEFAULTS, "original_max_position_embeddings": positions}
    values.setdefault("rope_type", values.get("type", "default"))
    rope = ConfigReader(values, f"{reader.source}, rope parameters", defaults)
    rope_type = rope.choice("rope_type", ROPE_TYPES)
    if rope.number("partial_rotary_factor") != 1.0:
        raise rope.error(
            "partial_rotary_factor", "is not served for this model; it rotates whole heads"
        )
    return _READERS[rope_type](rope, positions)


def _read_plain(rope: ConfigReader, positions: int) -> RopeParameters:
    del positions  # unscaled frequencies follow from theta alone
    return RopeParameters(rope_theta=rope.number("rope_theta", above=1.0))


def _read_scaled(rope: ConfigReader, positions: int) -> RopeParameters:
    return RopeParameters(
        rope_type=rope.value("rope_type"),
        rope_theta=rope.number("rope_theta", above=1.0),
        factor=rope.number("factor"),
        original_max_position_embeddings=positions,
    )


def _read_yarn(rope: ConfigReader, positions: int) -> RopeParameters:
    original = rope.integer("original_max_position_embeddings")
    return RopeParameters(
        rope_type="yarn",
        rope_theta=rope.number("rope_theta", above=1.0),
        factor=rope.number("factor") if "factor" in rope.raw else positions / original,
        original_max_position_embeddings=original,
        attention_factor=rope.optional_number("attention_factor"),
        beta_fast=rope.optional_number("beta_fast") or 32.0,
        beta_slow=rope.optional_number("beta_slow") or 1.0,
        mscale=rope.optional_number("mscale"),
        mscale_all_dim=rope.optional_number("mscale_all_dim"),
        truncate=rope.boolean("truncate"),
    )


def _read_llama3(rope: ConfigReader, positions: int) -> RopeParameters:
    del positions  # the pretraining length decides; it is among the rope parameters
    low = rope.number("low_freq_factor")
    return RopeParameters(
        rope_type="llama3",
        rope_theta=rope.number("rope_theta", above=1.0),
        factor=rope.number("factor"),
        original_max_position_embeddings=rope.integer("original_max_position_embeddings"),
        low_freq_factor=low,
        high_freq_factor=rope.number("high_freq_factor", above=low),
    )


_READERS = {
    "default": _read_plain,
    "linear": _read_scaled,
    "dynamic": _read_scaled,
    "yarn": _read_yarn,
    "llama3": _read_llama3,
}


def inverse_frequencies(
    rope: RopeParameters, head_dim: int, sequence_lengths: torch.Tensor | None = None
) -> tuple[torch.Tensor, float]:
    """The inverse frequencies and the factor on cos and sin.

    Returns ``[head_dim / 2]`` float32, or for dynamic rope ``[batch, head_dim / 2]``, one row for
    each of `sequence_lengths` (``[batch]``).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    if rope.rope_type == "dynamic":
        assert sequence_lengths is not None
        return _dynamic(rope, head_dim, exponents, sequence_lengths), 1.0
    plain = 1.0 / (rope.rope_theta**exponents)
    if rope.rope_type == "linear":
        return plain / rope.factor, 1.0
    if rope.rope_type == "llama3":
        return _llama3(rope, plain), 1.0
    if rope.rope_type == "yarn":
        return _yarn(rope, head_dim, exponents), _yarn_attention_factor(rope)
    return plain, 1.0


def _dynamic(
    rope: RopeParameters, head_dim: int, exponents: torch.Tensor, sequence_lengths: torch.Tensor
) -> torch.Tensor:
    # In float32, step by step as transformers computes it: long positions amplify any difference.
    original = rope.original_max_position_embeddings
    lengths = sequence_lengths.clamp(min=original).float()
    stretch = rope.factor * lengths / original - (rope.factor - 1)
    base = rope.rope_theta * stretch ** (head_dim / (head_dim - 2))
    return 1.0 / (base[:, None] ** exponents)  # [batch, head_dim / 2]


def _llama3(rope: RopeParameters, plain: torch.Tensor) -> torch.Tensor:
    """Long wavelengths are divided by `factor`, short ones kept, those between interpolated."""
    original = rope.original_max_position_embeddings
    wavelength = 2 * math.pi / plain
    smooth = (original / wavelength - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    between = (1 - smooth) * plain / rope.factor + smooth * plain
    scaled = torch.where(wavelength > original / rope.low_freq_factor, plain / rope.factor, between)
    return torch.where(wavelength < original / rope.high_freq_factor, plain, scaled)


def _yarn(rope: RopeParameters, head_dim: int, exponents: torch.Tensor) -> torch.Tensor:
    """Interpolate slow dimensions, keep fast ones, ramp between the two (arXiv 2309.00071, 3.2)."""

    def dimension_of(rotations: float) -> float:
        span = rope.original_max_position_embeddings / (rotations * 2 * math.pi)
        return head_dim * math.log(span) / (2 * math.log(rope.rope_theta))

    low, high = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # a ramp needs a width
    ramp = ((torch.arange(head_dim // 2).float() - low) / (high - low)).clamp(0, 1)
    plain = 1.0 / (rope.rope_theta**exponents)
    interpolated = 1.0 / (rope.factor * rope.rope_theta**exponents)
    return interpolated * ramp + plain * (1 - ramp)


def _yarn_attention_factor(rope: RopeParameters) -> float:
    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return _mscale(rope.factor, rope.mscale) / _mscale(rope.factor, rope.mscale_all_dim)
    return _mscale(rope.factor, 1.0)


def _mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0
