"""A linear weight in oneDNN's blocked layout: no reordering at each call, as `functional.linear` does."""

from __future__ import annotations

import torch

from modcore.engine.kernels.huge_pages import use_huge_pages
from modcore.engine.kernels.linear.base import bias_bytes

#: Blocks are padded; a weight that grows by more than this (it is tiny) is not worth it.
MOST_PADDING = 1.25


class PackedLinear:
    """float32 or bfloat16, blocked; results equal the plain product's but for the order of sums."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        ops = torch.ops.mkldnn
        self.shape = (weight.shape[0], weight.shape[1])
        self._weight: torch.Tensor = ops._reorder_linear_weight(weight, None)
        self._bias = bias
        self._multiply = ops._linear_pointwise.default
        held = int(ops._nbytes(self._weight))
        self.nbytes = held + bias_bytes(bias)
        use_huge_pages(int(ops.data_ptr(self._weight)), held)

    @property
    def is_worth_it(self) -> bool:
        """Whether the blocks are hardly larger than the matrix."""
        rows, columns = self.shape
        plain = rows * columns * self._weight.dtype.itemsize
        return bool(self.nbytes - bias_bytes(self._bias) <= MOST_PADDING * plain)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        product: torch.Tensor = self._multiply(x, self._weight, self._bias, "none", [], "")
        return product


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this machine's oneDNN multiplies in `dtype`."""
    if not torch._C._has_mkldnn:
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32
