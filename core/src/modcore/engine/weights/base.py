"""The two weight classes of a model (seed: *adding a model*): pre-and-post, and transformer layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from modcore.engine.config import TextConfig
from modcore.engine.weights.declaration import WeightSpec


class LayerWeight(ABC):
    """Weights that are declared, then filled by the loader.

    A subclass names its tensors in `declare`; the loader sets one attribute for each WeightSpec.
    """

    @abstractmethod
    def declare(self) -> Iterable[WeightSpec]:
        """The weights of this layer; names and shapes follow from the config."""


class PreAndPostLayerWeight(LayerWeight):
    """The embedding before the layers, the final norm and the head after them."""

    def __init__(self, config: TextConfig) -> None:
        self.config = config


class TransformerLayerWeight(LayerWeight):
    """The weights of transformer layer `layer_num`."""

    def __init__(self, config: TextConfig, layer_num: int) -> None:
        self.config = config
        self.layer_num = layer_num
