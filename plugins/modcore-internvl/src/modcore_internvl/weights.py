"""The tensors of tower and projector: shapes, what fuses, what is folded into what."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from modcore.engine.kernels import Kernels, LinearWeight
from modcore.engine.weights import LayerWeight, TensorSpec, WeightSpec
from modcore_internvl.config import InternVLConfig
from modcore_internvl.layouts import TensorNames

FINAL_NORM = "layernorm"


class VisionWeight(LayerWeight):
    """Weights of a part of the vision model; shapes follow from `config`, names from `names`."""

    def __init__(self, config: InternVLConfig, names: TensorNames) -> None:
        self.config = config
        self.names = names

    def linear(self, attribute: str, name: str, out: int, inner: int) -> WeightSpec:
        """A projection with a bias."""
        weight, bias = (
            TensorSpec(f"{name}.weight", (out, inner)),
            TensorSpec(f"{name}.bias", (out,)),
        )
        return WeightSpec(attribute, (weight,), linear=True, bias=(bias,))

    def norm(
        self, attribute: str, name: str, width: int, *, has_bias: bool
    ) -> Iterator[WeightSpec]:
        """A norm's weight and, to ``<attribute>_bias``, its bias."""
        yield WeightSpec(attribute, (TensorSpec(f"{name}.weight", (width,)),))
        if has_bias:
            yield WeightSpec(f"{attribute}_bias", (TensorSpec(f"{name}.bias", (width,)),))


class EmbeddingWeight(VisionWeight):
    """What stands before the layers, and the norm behind them where there is one."""

    class_embedding: torch.Tensor  # [1, 1, C]
    positions: torch.Tensor | None = None  # [1, 1 + patches, C]
    patches: LinearWeight  # [C, 3 * patch * patch]
    final_norm: torch.Tensor | None = None  # [C]
    final_norm_bias: torch.Tensor | None = None

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        tower, names = self.config.tower, self.names
        width, side = tower.hidden_size, tower.patch_size
        yield WeightSpec("class_embedding", (TensorSpec(names.class_embedding, (1, 1, width)),))
        if tower.has_positions:
            shape = (1, 1 + tower.grid**2, width)
            yield WeightSpec("positions", (TensorSpec(names.positions, shape),))
        kernel = TensorSpec(f"{names.patches}.weight", (width, 3, side, side))
        bias = TensorSpec(f"{names.patches}.bias", (width,))
        yield WeightSpec("patches", (kernel,), linear=True, bias=(bias,))
        if tower.has_final_norm:
            yield from self.norm("final_norm", FINAL_NORM, width, has_bias=True)

    def make_linear(
        self,
        spec: WeightSpec,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        kernels: Kernels,
        *,
        shared: bool,
    ) -> LinearWeight:
        """See `LayerWeight.make_linear`: patches do not overlap, so their convolution is a product."""
        return super().make_linear(spec, weight.flatten(1), bias, kernels, shared=shared)


class BlockWeight(VisionWeight):
    """One layer. The layer scales are folded into the projections that they follow."""

    norm_1: torch.Tensor  # [C]
    norm_1_bias: torch.Tensor | None = None
    qkv: LinearWeight  # [3 * C, C]
    q_norm: torch.Tensor | None = None  # [C]: over all heads together
    k_norm: torch.Tensor | None = None
    scale_1: torch.Tensor  # [C]
    attention_out: LinearWeight  # [C, C]
    norm_2: torch.Tensor
    norm_2_bias: torch.Tensor | None = None
    fc1: LinearWeight  # [inner, C]
    scale_2: torch.Tensor
    fc2: LinearWeight  # [C, inner]

    def __init__(self, config: InternVLConfig, names: TensorNames, layer: int) -> None:
        super().__init__(config, names)
        self.layer = layer

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        tower, names = self.config.tower, self.names
        layer = names.layer.format(self.layer)
        width, inner = tower.hidden_size, tower.intermediate_size
        has_bias = tower.norm_type == "layer_norm"
        yield from self.norm("norm_1", layer + names.norm_1, width, has_bias=has_bias)
        yield self._qkv(layer)
        if tower.has_qk_norm:
            yield from self.norm("q_norm", layer + names.q_norm, width, has_bias=False)
            yield from self.norm("k_norm", layer + names.k_norm, width, has_bias=False)
        yield WeightSpec("scale_1", (TensorSpec(layer + names.scale_1, (width,)),))
        yield self.linear("attention_out", layer + names.attention_out, width, width)
        yield from self.norm("norm_2", layer + names.norm_2, width, has_bias=has_bias)
        yield self.linear("fc1", f"{layer}mlp.fc1", inner, width)
        yield WeightSpec("scale_2", (TensorSpec(layer + names.scale_2, (width,)),))
        yield self.linear("fc2", f"{layer}mlp.fc2", width, inner)

    def _qkv(self, layer: str) -> WeightSpec:
        width, parts = self.config.tower.hidden_size, self.names.qkv
        rows = 3 * width // len(parts)
        weights = [TensorSpec(f"{layer}{part}.weight", (rows, width)) for part in parts]
        biases = [TensorSpec(f"{layer}{part}.bias", (rows,)) for part in parts]
        bias = tuple(biases) if self.config.tower.qkv_bias else ()
        return WeightSpec("qkv", tuple(weights), linear=True, bias=bias)

    def make_linear(
        self,
        spec: WeightSpec,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        kernels: Kernels,
        *,
        shared: bool,
    ) -> LinearWeight:
        """See `LayerWeight.make_linear`."""
        scale = {"attention_out": "scale_1", "fc2": "scale_2"}.get(spec.attribute)
        if scale and bias is not None:
            factors: torch.Tensor = getattr(self, scale)
            weight.mul_(factors[:, None])  # of tensors that nobody else holds
            bias.mul_(factors)
        return super().make_linear(spec, weight, bias, kernels, shared=shared)


class ProjectorWeight(VisionWeight):
    """From the tower's features to the language model's embeddings."""

    norm_1: torch.Tensor  # [shuffle ** 2 * C]
    norm_1_bias: torch.Tensor
    fc1: LinearWeight  # [hidden, shuffle ** 2 * C]
    fc2: LinearWeight  # [hidden, hidden]

    def declare(self) -> Iterator[WeightSpec]:
        """See `LayerWeight.declare`."""
        names, hidden = self.names, self.config.text_hidden_size
        width = self.config.shuffle**2 * self.config.tower.hidden_size
        yield from self.norm("norm_1", names.projector_norm, width, has_bias=True)
        yield self.linear("fc1", names.projector_1, hidden, width)
        yield self.linear("fc2", names.projector_2, hidden, hidden)
