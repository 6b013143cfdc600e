"""Every kernel in plain PyTorch: the reference that others are held against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from modcore.engine.kernels.linear import LinearWeight, PlainLinear, RowTable
from modcore.engine.memory import HOLD_ROW
from modcore.engine.state import InferStateInfo
from modcore.errors import InvalidRequest

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


class TorchKernels:
    """The reference implementation; see `Kernels` for shapes."""

    def embedding(self, ids: torch.Tensor, table: torch.Tensor | RowTable) -> torch.Tensor:
        """See `Kernels.embedding`."""
        if isinstance(table, torch.Tensor):
            return functional.embedding(ids, table)
        return table.rows(ids)

    def pack_linear(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        linear_format: str = "exact",
        *,
        shared: bool = False,
    ) -> LinearWeight:
        """See `Kernels.pack_linear`; plain tensors, so ``exact`` is the only format."""
        if linear_format != "exact":
            raise InvalidRequest(
                f"{type(self).__name__} have no {linear_format} weights; leave weights out.",
                param="weights",
            )
        return PlainLinear(weight, bias, shared=shared)

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """See `Kernels.rms_norm`."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        return weight * (wide * scale).to(x.dtype)

    def rotary(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """See `Kernels.rotary`."""
        first, second = x.float().chunk(2, dim=-1)  # [T, H, D / 2] each
        cos, sin = cos[:, None], sin[:, None]
        rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return rotated.to(x.dtype)

    def gated_activation(self, gate_up: torch.Tensor, activation: str) -> torch.Tensor:
        """See `Kernels.gated_activation`."""
        gate, up = gate_up.chunk(2, dim=-1)
        return _ACTIVATIONS[activation](gate) * up

    def context_attention(
        self,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        state: InferStateInfo,
        scale: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        """See `Kernels.context_attention`."""
        out = torch.empty_like(q)
        start = 0
        for request, count in enumerate(state.new_tokens):
            length = int(state.b_seq_len[request])
            rows = state.b_loc[request, :length]
            mask = _causal_mask(length, count, sliding_window, q.device)
            attended = functional.scaled_dot_product_attention(
                q[start : start + count].transpose(0, 1)[None],  # [1, H, new, D]
                keys[rows].transpose(0, 1)[None],  # [1, K, length, D]
                values[rows].transpose(0, 1)[None],
                attn_mask=mask,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=True,
            )
            out[start : start + count] = attended[0].transpose(0, 1)
            start += count
        return out

    def token_attention(
        self,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        state: InferStateInfo,
        scale: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        """See `Kernels.token_attention`."""
        positions = torch.arange(state.max_len_in_batch, device=q.device)
        visible = positions < state.b_seq_len[:, None]  # [batch, longest]
        if sliding_window is not None:
            visible &= positions >= state.b_seq_len[:, None] - sliding_window
        rows = torch.where(visible, state.b_loc, HOLD_ROW)
        attended = functional.scaled_dot_product_attention(
            q[:, :, None],  # [batch, H, 1, D]
            keys[rows].transpose(1, 2),  # [batch, K, longest, D]
            values[rows].transpose(1, 2),
            attn_mask=visible[:, None, None],
            scale=scale,
            enable_gqa=True,
        )
        return attended[:, :, 0]


def _causal_mask(
    length: int, new: int, sliding_window: int | None, device: torch.device
) -> torch.Tensor | None:
    """``[new, length]``, true where a new token may look; None when plain causal order says it."""
    windowed = sliding_window is not None and sliding_window < length
    if new == length and not windowed:
        return None
    key = torch.arange(length, device=device)
    query = torch.arange(length - new, length, device=device)[:, None]
    mask = key <= query
    if windowed:
        assert sliding_window is not None
        mask &= key > query - sliding_window
    return mask
