"""A packed linear weight times a few rows: the matrix streams through once, at the speed of the memory."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch

from modcore.engine.kernels.linear.int4 import Int4Linear
from modcore.engine.kernels.linear.int8 import Int8Linear
from modcore.engine.kernels.linear.packed import PackedLinear, packed_range

#: Rows up to which streaming is no slower than oneDNN's product of the same matrix.
MOST_ROWS = 48
MOST_INT4_ROWS = 63
_BLOCK = 64  # output rows that oneDNN's layout interleaves


class StreamedLinear:
    """`packed`, multiplied by the function `few_rows` of the compiled kernels when there are few rows."""

    def __init__(self, packed: PackedLinear, few_rows: Any) -> None:
        self.shape, self.nbytes = packed.shape, packed.nbytes
        self._packed = packed
        self._few_rows = few_rows
        self._address = packed_range(packed.weight)[0]
        self._bias = packed.bias.contiguous() if packed.bias is not None else None
        self._bias_address = self._bias.data_ptr() if self._bias is not None else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        rows = len(x)
        if rows > MOST_ROWS or x.dtype != torch.bfloat16:
            return self._packed(x)
        x = x.contiguous()
        outs, ins = self.shape
        product = torch.empty(rows, outs, dtype=torch.bfloat16)
        self._few_rows(
            x.data_ptr(), rows, ins, self._address, outs, self._bias_address, product.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return product


class StreamedInt4Linear:
    """`int4`, multiplied by the function `few_rows` of the compiled kernels when there are few rows."""

    def __init__(self, int4: Int4Linear, few_rows: Any) -> None:
        self.shape, self.nbytes = int4.shape, int4.nbytes
        self._int4 = int4
        self._few_rows = few_rows
        self._bias = int4.bias.bfloat16().contiguous() if int4.bias is not None else None
        self._bias_address = self._bias.data_ptr() if self._bias is not None else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        rows = len(x)
        if rows > MOST_INT4_ROWS or x.dtype != torch.bfloat16:
            return self._int4(x)
        x = x.contiguous()
        outs, ins = self.shape
        product = torch.empty(rows, outs, dtype=torch.bfloat16)
        self._few_rows(
            x.data_ptr(), rows, ins, self._int4.weight.data_ptr(), self._int4.scales.data_ptr(), outs,
            self._bias_address, product.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return product


class StreamedInt8Linear:
    """`int8`, multiplied by the function `few_rows` of the compiled kernels when there are few rows."""

    def __init__(self, int8: Int8Linear, few_rows: Any) -> None:
        self.shape, self.nbytes = int8.shape, int8.nbytes
        self._int8 = int8
        self._few_rows = few_rows
        self._address = packed_range(int8.weight)[0]
        self._bias_address = int8.bias.data_ptr() if int8.bias is not None else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        rows = len(x)
        if rows > MOST_ROWS or x.dtype != torch.bfloat16:
            return self._int8(x)
        x = x.contiguous()
        outs, ins = self.shape
        product = torch.empty(rows, outs, dtype=torch.bfloat16)
        self._few_rows(
            x.data_ptr(), rows, ins, self._address, self._int8.row_sums.data_ptr(),
            self._int8.scales.data_ptr(), outs, self._bias_address, product.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return product


def can_stream(packed: PackedLinear | Int8Linear) -> bool:
    """Whether the matrix lies as the kernel reads it."""
    outs, ins = packed.shape
    if outs % _BLOCK or ins % _BLOCK:
        return False
    if isinstance(packed, Int8Linear):
        return _int8_layout_is_known()
    return packed.dtype == torch.bfloat16 and _layout_is_known()


@functools.cache
def _int8_layout_is_known() -> bool:
    """Whether oneDNN packs as the kernel reads, ``[out / 64][in / 4][64][4]``: it is not documented."""
    outs, ins = 2 * _BLOCK, 2 * _BLOCK
    numbers = torch.arange(outs * ins).mul(7919).remainder(251).sub(125).to(torch.int8)
    numbers = numbers.view(outs, ins)
    packed = torch.ops.onednn.qlinear_prepack(numbers, None)
    address, size = packed_range(packed)
    if size < outs * ins:
        return False
    raw = torch.frombuffer(bytearray(ctypes.string_at(address, outs * ins)), dtype=torch.int8)
    expected = numbers.view(-1, _BLOCK, ins // 4, 4).transpose(1, 2).flatten()
    return bool(torch.equal(raw, expected))


@functools.cache
def _layout_is_known() -> bool:
    """Whether oneDNN packs as the kernel reads, ``[out / 64][in / 2][64][2]``: it is not documented."""
    outs, ins = 2 * _BLOCK, 2 * _BLOCK
    numbers = torch.arange(outs * ins, dtype=torch.int16).view(outs, ins)  # no NaN among them
    packed = torch.ops.mkldnn._reorder_linear_weight(numbers.view(torch.bfloat16), None)
    address, size = packed_range(packed)
    if size != 2 * outs * ins:
        return False
    raw = torch.frombuffer(bytearray(ctypes.string_at(address, size)), dtype=torch.int16)
    expected = numbers.view(-1, _BLOCK, ins // 2, 2).transpose(1, 2).flatten()
    return bool(torch.equal(raw, expected))
