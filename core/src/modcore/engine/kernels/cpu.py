"""Kernels for CPUs: linear weights in the layouts of oneDNN."""

from __future__ import annotations

import torch

from modcore.engine.kernels.linear import LinearWeight, PlainLinear
from modcore.engine.kernels.linear.packed import PackedLinear, can_pack
from modcore.engine.kernels.reference import TorchKernels


class CpuKernels(TorchKernels):
    """The reference, with linear weights that are packed once and multiplied often."""

    def pack_linear(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        linear_format: str = "exact",
        *,
        shared: bool = False,
    ) -> LinearWeight:
        """See `Kernels.pack_linear`."""
        if linear_format == "exact" and not shared and can_pack(weight.dtype):
            packed = PackedLinear(weight, bias)
            if packed.is_worth_it:
                return packed
        return super().pack_linear(weight, bias, linear_format, shared=shared)
