"""The two weight classes of a model (seed: *adding a model*): pre-and-post, and transformer layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch

from modcore.engine.config import TextConfig
from modcore.engine.kernels import Kernels, LinearWeight
from modcore.engine.weights.declaration import WeightSpec


class LayerWeight(ABC):
    """Weights that are declared, then filled by the loader.

    A subclass names its tensors in `declare`; the loader sets one attribute for each WeightSpec. A
    variant changes `linear_format`, or `make_linear` when it brings a layout of its own.
    """

    #: How linear weights are stored: ``exact``, ``int8`` or ``int4``; see `Kernels.pack_linear`.
    linear_format: ClassVar[str] = "exact"

    @abstractmethod
    def declare(self) -> Iterable[WeightSpec]:
        """The weights of this layer; names and shapes follow from the config."""

    @property
    def nbytes(self) -> int:
        """The bytes that the weights take; what two attributes share counts once."""
        held = {id(value): value for value in vars(self).values() if hasattr(value, "nbytes")}
        return sum(value.nbytes for value in held.values())

    def make_linear(
        self,
        spec: WeightSpec,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        kernels: Kernels,
        *,
        shared: bool,
    ) -> LinearWeight:
        """What the attribute of `spec` becomes: `weight` ``[out, in]`` is dropped after this call.

        `shared` says that `weight` is the tensor of `spec.same_as`: it stays, unless what is made
        here is a `RowTable`, which then takes its place.
        """
        return kernels.pack_linear(weight, bias, self.linear_format, shared=shared)


class PreAndPostLayerWeight(LayerWeight):
    """The embedding before the layers, the final norm and the head after them."""

    def __init__(self, config: TextConfig) -> None:
        self.config = config


class TransformerLayerWeight(LayerWeight):
    """The weights of transformer layer `layer_num`."""

    def __init__(self, config: TextConfig, layer_num: int) -> None:
        self.config = config
        self.layer_num = layer_num
