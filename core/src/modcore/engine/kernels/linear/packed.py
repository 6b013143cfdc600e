"""A linear weight in oneDNN's blocked layout: no reordering at each call, as `functional.linear` does."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from modcore.engine.kernels.linear.base import bias_bytes, few_shapes

#: Blocks are padded; a weight that grows by more than this (it is tiny) is not worth it.
MOST_PADDING = 1.25


class PackedLinear:
    """float32 or bfloat16, blocked; results equal the plain product's but for the order of sums."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        ops = torch.ops.mkldnn
        self.shape = (weight.shape[0], weight.shape[1])
        self.dtype = weight.dtype
        self.weight: torch.Tensor = ops._reorder_linear_weight(weight, None)
        self.bias = bias
        self._multiply = ops._linear_pointwise.default
        self.nbytes = packed_bytes(self.weight) + bias_bytes(bias)
        self.is_worth_it = packed_bytes(self.weight) <= MOST_PADDING * weight.nbytes

    @few_shapes
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        product: torch.Tensor = self._multiply(x, self.weight, self.bias, "none", [], "")
        return product

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `huge_pages.InMemory`."""
        yield packed_range(self.weight)


def packed_bytes(weight: torch.Tensor) -> int:
    """The bytes of a tensor in oneDNN's layout, whose own `nbytes` knows nothing of blocks."""
    return int(torch.ops.mkldnn._nbytes(weight))


def packed_range(weight: torch.Tensor) -> tuple[int, int]:
    """Address and size of a tensor in oneDNN's layout."""
    return int(torch.ops.mkldnn.data_ptr(weight)), packed_bytes(weight)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this machine's oneDNN multiplies in `dtype`."""
    if not torch._C._has_mkldnn:
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32
