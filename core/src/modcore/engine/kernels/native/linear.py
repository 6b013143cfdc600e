"""A packed linear weight times a few rows: the matrix streams through once, at the speed of the memory."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from typing import Any

import torch

from modcore.engine.kernels.linear import LinearWeight
from modcore.engine.kernels.linear.base import few_shapes
from modcore.engine.kernels.linear.int4 import Int4Linear
from modcore.engine.kernels.linear.int8 import Int8Linear
from modcore.engine.kernels.linear.packed import PackedLinear, packed_range
from modcore.engine.kernels.linear.quantise import row_blocks

#: Rows up to which streaming is no slower than oneDNN's product of the same matrix.
MOST_ROWS = 48
MOST_INT4_ROWS = 63
_BLOCK = 64  # output rows that oneDNN's layout interleaves


class StreamedLinear:
    """`linear`, multiplied by `few_rows` of the compiled kernels while there are `most_rows` or fewer.

    `addresses` is where that function finds the matrix, and what goes with it; `linear` keeps it alive.
    """

    def __init__(
        self,
        linear: LinearWeight,
        few_rows: Any,
        addresses: Sequence[int],
        bias: torch.Tensor | None,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self.shape, self.nbytes = linear.shape, linear.nbytes
        self._linear = linear
        self._few_rows = few_rows
        self._addresses = tuple(addresses)
        self._bias = None if bias is None else bias.contiguous()
        self._bias_address = None if self._bias is None else self._bias.data_ptr()
        self._most_rows = most_rows

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        rows = len(x)
        if rows > self._most_rows or x.dtype != torch.bfloat16:
            return self._linear(x)
        x = x.contiguous()
        outs, ins = self.shape
        product = torch.empty(rows, outs, dtype=torch.bfloat16)
        self._few_rows(
            x.data_ptr(), rows, ins, *self._addresses, outs, self._bias_address, product.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return product


def stream_packed(packed: PackedLinear, few_rows: Any) -> StreamedLinear:
    """`packed` in bfloat16, streamed by `few_rows_bf16`."""
    return StreamedLinear(packed, few_rows, [packed_range(packed.weight)[0]], packed.bias)


def stream_int8(int8: Int8Linear, few_rows: Any) -> StreamedLinear:
    """`int8`, streamed by `few_rows_int8_bf16`."""
    addresses = [packed_range(int8.weight)[0], int8.row_sums.data_ptr(), int8.scales.data_ptr()]
    return StreamedLinear(int8, few_rows, addresses, int8.bias)


def stream_int4(int4: Int4Linear, few_rows: Any, unpack: Any) -> StreamedLinear:
    """`int4`, streamed by `few_rows_int4_bf16`, and unpacked for many rows by `unpack_int4_bf16`."""
    bias = None if int4.bias is None else int4.bias.bfloat16()
    addresses = [int4.weight.data_ptr(), int4.scales.data_ptr()]
    many = UnpackedInt4(int4, unpack) if _layout_is_known() else int4
    return StreamedLinear(many, few_rows, addresses, bias, MOST_INT4_ROWS)


class UnpackedInt4:
    """`int4` times many rows: blocks of it become bfloat16 in oneDNN's layout, one after the other."""

    def __init__(self, int4: Int4Linear, unpack: Any) -> None:
        self.shape, self.nbytes = int4.shape, int4.nbytes
        self._int4, self._unpack = int4, unpack

    @few_shapes
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        outs, ins = self.shape
        product = x.new_empty(len(x), outs)
        for rows in row_blocks(outs):
            count = rows.stop - rows.start
            scratch = _scratch(count, ins)
            self._unpack(
                self._int4.weight[rows].data_ptr(), self._int4.scales[:, rows].data_ptr(), ins,
                outs, count // _BLOCK, packed_range(scratch)[0], torch.get_num_threads(),
            )  # fmt: skip
            product[:, rows] = torch.ops.mkldnn._linear_pointwise(x, scratch, None, "none", [], "")
        return product if self._int4.bias is None else product + self._int4.bias


def _scratch(rows: int, columns: int) -> torch.Tensor:
    """A matrix ``[rows, columns]`` in oneDNN's layout, to be written over; a thread's own."""
    kept: dict[tuple[int, int], torch.Tensor] = vars(_local).setdefault("scratch", {})
    if (rows, columns) not in kept:
        weight = torch.zeros(rows, columns, dtype=torch.bfloat16)
        kept[rows, columns] = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return kept[rows, columns]


_local = threading.local()


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
