"""Linear weights of 4 bits, one scale and one zero a group of columns."""

from __future__ import annotations

import functools

import torch
from torch.nn import functional

from modcore.engine.kernels.arena import Arena
from modcore.engine.kernels.linear.base import bias_bytes, few_shapes
from modcore.engine.kernels.linear.quantise import BLOCK_ROWS, row_blocks, to_int4

#: Columns that share a scale: half a bit more a weight than 64, and a third less error.
GROUP = 32
#: Rows that PyTorch's layout interleaves.
_LANES = 64
_LOW_HALVES = 0x0F0F0F0F0F0F0F0F


class Int4Linear:
    """4-bit weights in the layout of PyTorch's ``_weight_int4pack_mm_for_cpu``, for bfloat16.

    From `MANY` tokens on, that kernel's arithmetic takes longer than turning blocks of rows back to
    bfloat16 and multiplying those.
    """

    MANY = 64

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, arena: Arena | None = None
    ) -> None:
        arena = arena or Arena()
        rows, columns = self.shape = (weight.shape[0], weight.shape[1])
        self.weight = arena.empty(rows, columns // 2, dtype=torch.uint8)
        self.scales = arena.empty(columns // GROUP, rows, 2, dtype=torch.bfloat16)  # and zeros
        for block, codes, scale, zero in to_int4(weight, GROUP):
            self.weight[block] = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
            self.scales[:, block, 0] = scale.t()
            self.scales[:, block, 1] = zero.t()
        self.bias = bias
        self.nbytes = self.weight.nbytes + self.scales.nbytes + bias_bytes(bias)

    @few_shapes
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        if len(x) < self.MANY or not layout_is_known():
            product: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
                x.contiguous(), self.weight, GROUP, self.scales
            )
        else:
            product = x.new_empty(len(x), self.shape[0])
            scratch = _Scratch(self.shape[1])
            for rows in row_blocks(self.shape[0]):
                product[:, rows] = functional.linear(x, self.unpacked(rows, scratch))
        return product if self.bias is None else product + self.bias

    def unpacked(self, rows: slice, scratch: _Scratch) -> torch.Tensor:
        """`rows` (whole blocks of 64) as bfloat16 ``[rows, in]``; good until `scratch` is used again."""
        # [in / group, rows] each; strided operands would be multiplied one by one
        scales, zeros = (part.contiguous() for part in self.scales[:, rows].unbind(-1))
        wide = scratch.wide(rows).copy_(_codes(self.weight[rows], scratch.codes(rows)))
        groups = wide.view(len(scales), GROUP, -1)  # [in / group, group, rows]
        torch.addcmul((zeros - 8 * scales)[:, None], groups, scales[:, None], out=groups)
        return wide.t()


def fits_int4(weight: torch.Tensor) -> bool:
    """Whether the layout has a place for a weight of this shape and dtype."""
    rows, columns = weight.shape
    return weight.dtype == torch.bfloat16 and not rows % _LANES and not columns % GROUP


class _Scratch:
    """Memory for one block of rows, used again for each: fresh memory costs more than the arithmetic."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._codes = torch.empty(columns * BLOCK_ROWS // 8, dtype=torch.int64)
        self._wide = torch.empty(columns * BLOCK_ROWS, dtype=torch.bfloat16)

    def codes(self, rows: slice) -> torch.Tensor:
        """int64 ``[in, blocks, 2, 4]``: 8 codes in each."""
        blocks = (rows.stop - rows.start) // _LANES
        return self._codes[: self._columns * blocks * 8].view(self._columns, blocks, 2, 4)

    def wide(self, rows: slice) -> torch.Tensor:
        """bfloat16 ``[in, rows]``."""
        count = rows.stop - rows.start
        return self._wide[: self._columns * count].view(self._columns, count)


def _codes(packed: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """The numbers 0 to 15 of packed rows, transposed: uint8 ``[in, rows]``, in the memory of `out`.

    With AVX512, the 64 rows of a block lie side by side: 32 bytes a column, whose low halves are the
    first 32 rows. Eight bytes are split at once.
    """
    columns = packed.shape[1] * 2
    eights = packed.view(torch.int64).view(-1, columns, 4).transpose(0, 1)  # [in, blocks, 4]
    torch.bitwise_and(eights, _LOW_HALVES, out=out[:, :, 0])
    torch.bitwise_right_shift(eights, 4, out=out[:, :, 1])
    out[:, :, 1].bitwise_and_(_LOW_HALVES)
    return out.view(torch.uint8).view(columns, -1)


@functools.cache
def layout_is_known() -> bool:
    """Whether PyTorch packs on this processor as `_codes` reads: the layout is not documented."""
    codes = torch.arange(_LANES * GROUP, dtype=torch.int32).view(_LANES, GROUP) * 7 % 16
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    read = _codes(packed, _Scratch(GROUP).codes(slice(0, _LANES)))
    return bool(torch.equal(read.t().int(), codes))
