"""``config.json`` of both layouts, as one set of dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from modcore.engine.config import ACTIVATIONS
from modcore.engine.config_reader import ConfigReader
from modcore_internvl.layouts import Layout

NORMS = ("layer_norm", "rms_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig:
    """The vision tower.

    `layers_used` of its layers are computed; `has_final_norm` says that a norm follows the last.
    `image_size` and `patch_size` are pixels of a side.
    """

    hidden_size: int
    num_hidden_layers: int
    layers_used: int
    num_attention_heads: int
    intermediate_size: int
    image_size: int
    patch_size: int
    hidden_act: str
    norm_type: str
    norm_eps: float
    qkv_bias: bool
    has_qk_norm: bool
    qk_norm_eps: float
    has_positions: bool
    has_final_norm: bool
    holds_final_norm: bool

    @property
    def grid(self) -> int:
        """Patches of a side of the images that the positions are made for."""
        return self.image_size // self.patch_size

    @classmethod
    def read(cls, reader: ConfigReader, layout: Layout, selected: int) -> Self:
        """The keys of ``vision_config``; `selected` is the layer whose output is used, -1 the last."""
        hidden, heads = reader.integer("hidden_size"), reader.integer("num_attention_heads")
        if hidden % heads:
            raise reader.error(
                "num_attention_heads", f"is {heads}, which does not divide hidden_size {hidden}"
            )
        if reader.integer("num_channels") != 3:
            raise reader.error("num_channels", f"is {reader.value('num_channels')}; images have 3")
        layers = reader.integer("num_hidden_layers")
        pools = reader.boolean("use_mean_pooling")
        eps = reader.number("layer_norm_eps")
        config = cls(
            hidden_size=hidden,
            num_hidden_layers=layers,
            layers_used=_layers_used(reader, layers, selected),
            num_attention_heads=heads,
            intermediate_size=reader.integer("intermediate_size"),
            image_size=_side(reader, "image_size"),
            patch_size=_side(reader, "patch_size"),
            hidden_act=reader.choice("hidden_act", ACTIVATIONS),
            norm_type=reader.choice("norm_type", NORMS),
            norm_eps=eps,
            qkv_bias=reader.boolean(layout.key("attention_bias")),
            has_qk_norm=reader.boolean(layout.key("use_qk_norm")),
            # transformers' norms of q and k have an epsilon of their own.
            qk_norm_eps=eps if layout.qk_norm_eps is None else layout.qk_norm_eps,
            has_positions=reader.boolean("use_absolute_position_embeddings"),
            has_final_norm=not pools and selected == -1,
            holds_final_norm=not pools,
        )
        if config.patch_size > config.image_size:
            raise reader.error(
                "patch_size", f"is {config.patch_size} for images of {config.image_size} pixels"
            )
        return config


@dataclass(frozen=True, slots=True, kw_only=True)
class InternVLConfig:
    """The whole model: `text` is the language model's config, as its own ``config.json`` would be.

    `shuffle` is how many patches of a side become one token; `is_transposed` says that tokens go
    down the columns (``ps_version`` v1).
    """

    tower: TowerConfig
    text: Mapping[str, Any]
    text_hidden_size: int
    shuffle: int
    is_transposed: bool
    projector_act: str

    @classmethod
    def read(cls, raw: Mapping[str, Any], source: str, layout: Layout) -> Self:
        """Read all keys; raises CheckpointError, with key and file, for what cannot be."""
        reader = ConfigReader(raw, source, layout.defaults)
        text = _object(reader, layout.text_config)
        strategy = "vision_feature_select_strategy"
        reader.choice(strategy, ("default",))
        selected = _selected(reader, layout.key("vision_feature_layer"))
        tower = ConfigReader(
            _object(reader, "vision_config"), f"{source}, vision_config", layout.tower_defaults
        )
        if "tie_word_embeddings" in layout.defaults:  # the whole model's says it, not the part's
            text = {**text, "tie_word_embeddings": reader.boolean("tie_word_embeddings")}
        return cls(
            tower=TowerConfig.read(tower, layout, selected),
            text=text,
            text_hidden_size=ConfigReader(text, f"{source}, {layout.text_config}").integer(
                "hidden_size"
            ),
            shuffle=_shuffle(reader),
            is_transposed=reader.choice("ps_version", ("v1", "v2")) == "v1",
            projector_act=reader.choice("projector_hidden_act", ACTIVATIONS),
        )


def _object(reader: ConfigReader, key: str) -> dict[str, Any]:
    value = reader.value(key)
    if not isinstance(value, dict):
        raise reader.error(key, f"is {value!r:.80} where an object is expected")
    return value


def _side(reader: ConfigReader, key: str) -> int:
    """The side of a square, given as a number or as height and width."""
    value = reader.value(key)
    if isinstance(value, (list, tuple)) and len(value) == 2 and value[0] == value[1]:
        return ConfigReader({key: value[0]}, reader.source).integer(key)
    if isinstance(value, (list, tuple)):
        raise reader.error(key, f"is {value!r:.80}; only squares are served")
    return reader.integer(key)


def _selected(reader: ConfigReader, key: str) -> int:
    value = reader.value(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise reader.error(key, f"is {value!r:.80} where the number of one layer is expected")
    return value


def _layers_used(reader: ConfigReader, layers: int, selected: int) -> int:
    """How many layers lie before the states that are used: states 0 to `layers`, or from behind."""
    used = selected if selected >= 0 else layers + 1 + selected
    if not 0 <= used <= layers:
        raise reader.error(
            "num_hidden_layers", f"is {layers}, and the features of layer {selected} are asked for"
        )
    return used


def _shuffle(reader: ConfigReader) -> int:
    ratio = reader.number("downsample_ratio")
    factor = round(1 / ratio)
    if factor < 1 or abs(factor * ratio - 1) > 1e-6:
        raise reader.error("downsample_ratio", f"is {ratio!r}; it has to be one by a whole number")
    return factor
