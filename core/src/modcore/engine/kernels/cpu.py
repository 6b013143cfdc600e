"""Kernels for CPUs: linear weights in the layouts of oneDNN and of PyTorch's quantised operators."""

from __future__ import annotations

import torch

from modcore.engine.kernels.arena import Arena
from modcore.engine.kernels.huge_pages import HugePages
from modcore.engine.kernels.linear import LinearWeight, PlainLinear
from modcore.engine.kernels.linear.int4 import Int4Linear, fits_int4
from modcore.engine.kernels.linear.int8 import Int8Linear, Int8WeightOnlyLinear, has_fast_int8
from modcore.engine.kernels.linear.packed import PackedLinear, can_pack
from modcore.engine.kernels.reference import TorchKernels

FORMATS = ("exact", "int8", "int4")


class CpuKernels(TorchKernels):
    """The reference, with linear weights that are packed once and multiplied often."""

    def __init__(self) -> None:
        self.huge_pages = HugePages()
        self._arena = Arena()

    def pack_linear(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        linear_format: str = "exact",
        *,
        shared: bool = False,
    ) -> LinearWeight:
        """See `Kernels.pack_linear`."""
        if linear_format not in FORMATS:
            return super().pack_linear(weight, bias, linear_format, shared=shared)
        if linear_format == "int4" and fits_int4(weight) and not shared:
            return Int4Linear(weight, bias, self._arena)
        packed = _packed(weight, bias, linear_format, shared=shared)
        if packed is None:
            return PlainLinear(weight, bias, shared=shared)
        self.huge_pages.request(packed)
        return packed


def _packed(
    weight: torch.Tensor, bias: torch.Tensor | None, linear_format: str, *, shared: bool
) -> PackedLinear | Int8Linear | Int8WeightOnlyLinear | None:
    if linear_format != "exact":
        in_rows = shared or not has_fast_int8()
        return (Int8WeightOnlyLinear if in_rows else Int8Linear)(weight, bias)
    if shared or not can_pack(weight.dtype):
        return None
    packed = PackedLinear(weight, bias)
    return packed if packed.is_worth_it else None
