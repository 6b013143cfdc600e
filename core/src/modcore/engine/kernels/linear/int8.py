"""Linear weights of 8 bits, one scale a row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

from modcore.engine.kernels.linear.base import bias_bytes, few_shapes
from modcore.engine.kernels.linear.packed import packed_bytes, packed_range
from modcore.engine.kernels.linear.quantise import row_blocks, to_int8

_SMALLEST = 1e-30  # a token of zeros still needs a scale
_COLUMNS = 16  # PyTorch's weight-only operator reads so many at once


class Int8Linear:
    """8-bit weights times activations that are rounded to 8 bits token by token, in oneDNN's layout.

    The processor's VNNI instructions multiply bytes four at a time, so this is faster than bfloat16
    at any number of tokens: a second copy of the weights for many of them is not needed. Rounding the
    activations costs about as much accuracy as rounding the weights (llama.cpp's q8_0 does so, too).
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        rounded, self.scales = to_int8(weight)
        self.row_sums = rounded.sum(1, dtype=torch.int32)  # [out]
        self.weight: torch.Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zero = torch.zeros(1, dtype=torch.int64)
        self.bias = None if bias is None else bias.float()
        self._multiply = torch.ops.onednn.qlinear_pointwise.default
        self.nbytes = (
            packed_bytes(self.weight)
            + self.scales.nbytes
            + self.row_sums.nbytes
            + bias_bytes(self.bias)
        )

    @few_shapes
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        wide = x.float()
        scale = wide.abs().amax(-1, keepdim=True).clamp_min_(_SMALLEST).div_(127)  # [T, 1]
        # 128 stands for zero; the conversion cuts off, so that half more rounds.
        rounded = wide.div(scale).add_(128.5).to(torch.uint8)
        if len(x) == 1:
            return self._product(rounded, scale.item(), self.bias, x.dtype)
        product = self._product(rounded, 1.0, None, torch.float32).mul_(scale)
        if self.bias is not None:
            product.add_(self.bias)
        return product.to(x.dtype)

    def _product(
        self, x: torch.Tensor, scale: float, bias: torch.Tensor | None, dtype: torch.dtype
    ) -> torch.Tensor:
        product: torch.Tensor = self._multiply(
            x, scale, 128, self.weight, self.scales, self._zero, bias, 1.0, 0, dtype, "none", [], ""
        )  # fmt: skip
        return product

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `huge_pages.InMemory`."""
        yield packed_range(self.weight)


class Int8WeightOnlyLinear:
    """8-bit weights times activations as they are, for processors without VNNI, and for a tied head.

    The rows stay in order, so that they can be an embedding, too (`RowTable`).
    From `MANY` tokens on, blocks of rows are turned back and multiplied in x's dtype. So are those of
    half precision and a width that PyTorch's operator runs beyond, which ends the process.
    """

    MANY = 16

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        self._weight, scales = to_int8(weight)
        self._scales = scales.to(weight.dtype)
        self._bias = bias
        fits = weight.dtype == torch.float32 or weight.shape[1] % _COLUMNS == 0
        self._many = self.MANY if fits else 0
        self.nbytes = self._weight.nbytes + self._scales.nbytes + bias_bytes(bias)

    @few_shapes
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        if len(x) < self._many:
            product: torch.Tensor = torch.ops.aten._weight_int8pack_mm(
                x, self._weight, self._scales
            )
        else:
            product = x.new_empty(len(x), self.shape[0])
            for rows in row_blocks(self.shape[0]):
                product[:, rows] = functional.linear(x, self._weight[rows].to(x.dtype))
            product *= self._scales
        return product if self._bias is None else product + self._bias

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """See `RowTable`."""
        return self._weight[ids] * self._scales[ids, None]

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `huge_pages.InMemory`."""
        yield self._weight.data_ptr(), self._weight.nbytes


def has_fast_int8() -> bool:
    """Whether this machine multiplies bytes without overflow and fast: AVX512 VNNI, or AVX VNNI."""
    return bool(torch._C._has_mkldnn and torch.cpu._is_vnni_supported())
