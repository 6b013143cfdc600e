"""Linear weights of 4 bits, one scale and one zero a group of columns."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch.nn import functional

from modcore.engine.kernels.linear.base import bias_bytes
from modcore.engine.kernels.linear.quantise import row_blocks, to_int4

#: Columns that share a scale: half a bit more a weight than 64, and a third less error.
GROUP = 32
#: Rows that PyTorch's layout interleaves.
_LANES = 64


class Int4Linear:
    """4-bit weights in the layout of PyTorch's ``_weight_int4pack_mm_for_cpu``, for bfloat16.

    From `MANY` tokens on, that kernel's arithmetic takes longer than turning blocks of rows back to
    bfloat16 and multiplying those.
    """

    MANY = 64

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        rows, columns = self.shape = (weight.shape[0], weight.shape[1])
        self._weight = torch.empty(rows, columns // 2, dtype=torch.uint8)
        self._scales = torch.empty(columns // GROUP, rows, 2, dtype=torch.bfloat16)  # and zeros
        for block, codes, scale, zero in to_int4(weight, GROUP):
            self._weight[block] = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
            self._scales[:, block, 0] = scale.t()
            self._scales[:, block, 1] = zero.t()
        self._bias = bias
        self.nbytes = self._weight.nbytes + self._scales.nbytes + bias_bytes(bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        if len(x) < self.MANY or not _layout_is_known():
            product: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
                x.contiguous(), self._weight, GROUP, self._scales
            )
        else:
            product = x.new_empty(len(x), self.shape[0])
            for rows in row_blocks(self.shape[0]):
                product[:, rows] = functional.linear(x, self.unpacked(rows))
        return product if self._bias is None else product + self._bias

    def unpacked(self, rows: slice) -> torch.Tensor:
        """`rows` (whole blocks of 64) as bfloat16 ``[rows, in]``."""
        scales, zeros = self._scales[:, rows].unbind(-1)  # [in / group, rows]
        codes = _codes(self._weight[rows]).bfloat16()  # [in, rows]
        codes = codes.view(len(scales), GROUP, -1)
        wide = torch.addcmul((zeros - 8 * scales)[:, None], codes, scales[:, None])
        return wide.flatten(0, 1).t()

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `huge_pages.InMemory`."""
        yield self._weight.data_ptr(), self._weight.nbytes


def fits_int4(weight: torch.Tensor) -> bool:
    """Whether the layout has a place for a weight of this shape and dtype."""
    rows, columns = weight.shape
    return weight.dtype == torch.bfloat16 and not rows % _LANES and not columns % GROUP


def _codes(packed: torch.Tensor) -> torch.Tensor:
    """The numbers 0 to 15 of packed rows, transposed: uint8 ``[in, rows]``.

    With AVX512, the 64 rows of a block lie side by side: 32 bytes a column, whose low halves are the
    first 32 rows.
    """
    columns = packed.shape[1] * 2
    blocks = packed.view(-1, columns, _LANES // 2)
    both = torch.cat([blocks & 15, blocks >> 4], dim=-1)  # [blocks, in, 64]
    return both.transpose(0, 1).flatten(1)


@functools.cache
def _layout_is_known() -> bool:
    """Whether PyTorch packs on this processor as `_codes` reads: the layout is not documented."""
    codes = torch.arange(_LANES * GROUP, dtype=torch.int32).view(_LANES, GROUP) * 7 % 16
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    return bool(torch.equal(_codes(packed).t().int(), codes))
