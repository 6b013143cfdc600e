"""The C++ kernels behind the interface; what they do not cover is PyTorch's."""

from __future__ import annotations

import ctypes
from typing import Any

import torch

from modcore.engine.kernels.cpu import CpuKernels
from modcore.engine.kernels.linear import LinearWeight
from modcore.engine.kernels.linear.int4 import Int4Linear, layout_is_known
from modcore.engine.kernels.linear.int8 import Int8Linear
from modcore.engine.kernels.linear.packed import PackedLinear
from modcore.engine.kernels.native.compile import load_library
from modcore.engine.kernels.native.linear import (
    can_stream,
    stream_int4,
    stream_int8,
    stream_packed,
)
from modcore.engine.state import InferStateInfo

_SUFFIXES = {torch.bfloat16: "bf16", torch.float32: "f32"}


class NativeKernels(CpuKernels):
    """Kernels for the CPU in `dtype` (bfloat16 or float32); raises CompilationFailed.

    Tensors are handed over as pointers, so shapes and strides are looked at here.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        library, suffix = load_library(), _SUFFIXES[dtype]
        pointer, number, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float

        def function(name: str, *types: Any) -> Any:
            each = getattr(library, f"{name}_{suffix}")
            each.argtypes, each.restype = types, None
            return each

        self._token_attention = function(
            "token_attention", *[pointer] * 4, number, pointer, *[number] * 5, real, number,
            pointer, pointer, number,
        )  # fmt: skip
        self._context_attention = self._full_attention = self._few_rows = None
        self._few_rows_int8 = self._few_rows_int4 = self._unpack_int4 = None
        if dtype == torch.bfloat16 and library.has_bfloat16_products():
            self._few_rows = function(
                "few_rows", pointer, number, number, pointer, number, pointer, pointer, number
            )
            if library.has_int8_products():
                self._few_rows_int8 = function(
                    "few_rows_int8", pointer, number, number, *[pointer] * 3, number,
                    *[pointer] * 2, number,
                )  # fmt: skip
                self._unpack_int4 = function(
                    "unpack_int4", pointer, pointer, *[number] * 3, pointer, number
                )
                self._few_rows_int4 = function(
                    "few_rows_int4", pointer, number, number, *[pointer] * 2, number,
                    *[pointer] * 2, number,
                )  # fmt: skip
            self._context_attention = function(
                "context_attention", *[pointer] * 4, number, pointer, pointer, *[number] * 5, real,
                number, pointer, pointer, number,
            )  # fmt: skip
            self._full_attention = function(
                "full_attention", *[pointer] * 4, *[number] * 4, real, pointer, number
            )
        self._rms_norm = function("rms_norm", *[pointer] * 3, number, number, real, number)
        self._rotary = function("rotary", pointer, number, *[pointer] * 3, *[number] * 4)
        self._gated_silu = function("gated_silu", pointer, pointer, *[number] * 3)
        self._store = function("store", pointer, number, pointer, pointer, number, number)

    def pack_linear(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        linear_format: str = "exact",
        *,
        shared: bool = False,
    ) -> LinearWeight:
        """See `Kernels.pack_linear`."""
        packed = super().pack_linear(weight, bias, linear_format, shared=shared)
        if self._few_rows and isinstance(packed, PackedLinear) and can_stream(packed):
            return stream_packed(packed, self._few_rows)
        if self._few_rows_int8 and isinstance(packed, Int8Linear) and can_stream(packed):
            return stream_int8(packed, self._few_rows_int8)
        if self._few_rows_int4 and isinstance(packed, Int4Linear) and layout_is_known():
            return stream_int4(packed, self._few_rows_int4, self._unpack_int4)
        return packed

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """See `Kernels.rms_norm`."""
        x = x.contiguous()
        out = torch.empty_like(x)
        width = x.shape[-1]
        self._rms_norm(
            x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // width, width, eps,
            torch.get_num_threads(),
        )  # fmt: skip
        return out

    def rotary(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """See `Kernels.rotary`."""
        tokens, heads, dim = x.shape
        if x.stride(2) != 1 or x.stride(1) != dim:
            x = x.contiguous()
        out = torch.empty(tokens, heads, dim, dtype=x.dtype)
        self._rotary(
            x.data_ptr(), x.stride(0), cos.data_ptr(), sin.data_ptr(), out.data_ptr(), tokens,
            heads, dim, torch.get_num_threads(),
        )  # fmt: skip
        return out

    def gated_activation(self, gate_up: torch.Tensor, activation: str) -> torch.Tensor:
        """See `Kernels.gated_activation`."""
        if activation not in ("silu", "swish") or not gate_up.is_contiguous():
            return super().gated_activation(gate_up, activation)
        rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        out = torch.empty(rows, width, dtype=gate_up.dtype)
        self._gated_silu(gate_up.data_ptr(), out.data_ptr(), rows, width, torch.get_num_threads())
        return out

    def store(self, rows: torch.Tensor, new: torch.Tensor, index: torch.Tensor) -> None:
        """See `Kernels.store`."""
        tokens, heads, dim = new.shape
        if new.stride(2) != 1 or new.stride(1) != dim:
            new = new.contiguous()
        self._store(
            new.data_ptr(), new.stride(0), index.data_ptr(), rows.data_ptr(), tokens, heads * dim
        )

    def token_attention(
        self,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        state: InferStateInfo,
        scale: float,
        sliding_window: int | None,
        alibi_slopes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Kernels.token_attention`: the rows are read where they lie."""
        batch, heads, dim = q.shape
        if q.stride(2) != 1 or q.stride(1) != dim:
            q = q.contiguous()
        out = torch.empty(batch, heads, dim, dtype=q.dtype)
        self._token_attention(
            q.data_ptr(), keys.data_ptr(), values.data_ptr(), state.b_loc.data_ptr(),
            state.b_loc.stride(0), state.b_seq_len.data_ptr(), batch, heads, keys.shape[1], dim,
            q.stride(0), scale, sliding_window or 0,
            alibi_slopes.data_ptr() if alibi_slopes is not None else None, out.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return out

    def context_attention(
        self,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        state: InferStateInfo,
        scale: float,
        sliding_window: int | None,
        alibi_slopes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Kernels.context_attention`: in bfloat16, where the processor multiplies it."""
        tokens, heads, dim = q.shape
        if self._context_attention is None or dim % 2:
            return super().context_attention(
                q, keys, values, state, scale, sliding_window, alibi_slopes
            )
        if q.stride(2) != 1 or q.stride(1) != dim:
            q = q.contiguous()
        out = torch.empty(tokens, heads, dim, dtype=q.dtype)
        first = state.decode_size
        b_loc, lengths = state.b_loc[first:], state.b_seq_len[first:]
        counts = torch.tensor(state.new_tokens[first:])
        self._context_attention(
            q.data_ptr(), keys.data_ptr(), values.data_ptr(), b_loc.data_ptr(), b_loc.stride(0),
            lengths.data_ptr(), counts.data_ptr(), len(counts), heads, keys.shape[1], dim,
            q.stride(0), scale, sliding_window or 0,
            alibi_slopes.data_ptr() if alibi_slopes is not None else None, out.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return out

    def full_attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Kernels.full_attention`: in bfloat16, where the processor multiplies it."""
        batch, tokens, heads, dim = q.shape
        if self._full_attention is None or dim % 2:
            return super().full_attention(q, k, v, scale)
        q, k, v = (_by_rows(each) for each in (q, k, v))
        strides = torch.tensor([q.stride(1), k.stride(1), v.stride(1)])
        out = torch.empty(batch, tokens, heads, dim, dtype=q.dtype)
        self._full_attention(
            q.data_ptr(), k.data_ptr(), v.data_ptr(), strides.data_ptr(), batch, tokens, heads,
            dim, scale, out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out


def _by_rows(x: torch.Tensor) -> torch.Tensor:
    """`x` ``[batch, tokens, heads, dim]`` with a token's heads together, and one stride for all tokens."""
    batch, tokens, _, dim = x.shape
    lies_so = x.stride(3) == 1 and x.stride(2) == dim
    if lies_so and (batch == 1 or x.stride(0) == tokens * x.stride(1)):
        return x
    return x.contiguous()
