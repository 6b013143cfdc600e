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
                f"{type(self).__name__} have no {linear_format} weights; leave weights out, or unset MODCORE_KERNELS.",
                param="weights",
            )
        return PlainLinear(weight, bias, shared=shared)

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """See `Kernels.rms_norm`."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        return weight * (wide * scale).to(x.dtype)

    def layer_norm(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> torch.Tensor:
        """See `Kernels.layer_norm`."""
        return functional.layer_norm(x, weight.shape, weight, bias, eps)  # sums in float32

    def rotary(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """See `Kernels.rotary`."""
        first, second = x.float().chunk(2, dim=-1)  # [T, H, D / 2] each
        cos, sin = cos[:, None], sin[:, None]
        rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return rotated.to(x.dtype)

    def activation(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """See `Kernels.activation`."""
        return _ACTIVATIONS[name](x)

    def gated_activation(self, gate_up: torch.Tensor, activation: str) -> torch.Tensor:
        """See `Kernels.gated_activation`."""
        gate, up = gate_up.chunk(2, dim=-1)
        return _ACTIVATIONS[activation](gate) * up

    def store(self, rows: torch.Tensor, new: torch.Tensor, index: torch.Tensor) -> None:
        """See `Kernels.store`."""
        rows[index] = new

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
        """See `Kernels.context_attention`."""
        out = torch.empty_like(q)
        start = 0
        for request in range(state.decode_size, state.batch_size):
            count = state.new_tokens[request]
            length = int(state.b_seq_len[request])
            rows = state.b_loc[request, :length]
            key, value = keys[rows], values[rows]  # [length, K, D]
            for done, stop in _query_blocks(count, alibi_slopes):
                seen = length - count + stop  # keys up to the block's last token
                mask = _causal_mask(seen, stop - done, sliding_window, alibi_slopes, q.device)
                block = slice(start + done, start + stop)
                attended = functional.scaled_dot_product_attention(
                    q[block].transpose(0, 1)[None],  # [1, H, new, D]
                    key[:seen].transpose(0, 1)[None],  # [1, K, seen, D]
                    value[:seen].transpose(0, 1)[None],
                    attn_mask=mask,
                    is_causal=mask is None,
                    scale=scale,
                    enable_gqa=True,
                )
                out[block] = attended[0].transpose(0, 1)
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
        alibi_slopes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Kernels.token_attention`."""
        lengths = state.b_seq_len[: len(q), None]  # [decode, 1]
        positions = torch.arange(int(lengths.max()), device=q.device)
        visible = positions < lengths  # [decode, longest]
        if sliding_window is not None:
            visible &= positions >= lengths - sliding_window
        rows = torch.where(visible, state.b_loc[: len(q), : len(positions)], HOLD_ROW)
        mask = visible[:, None, None]
        if alibi_slopes is not None:
            mask = _alibi_mask(visible[:, None], (lengths - 1 - positions)[:, None], alibi_slopes)
        attended = functional.scaled_dot_product_attention(
            q[:, :, None],  # [decode, H, 1, D]
            keys[rows].transpose(1, 2),  # [decode, K, longest, D]
            values[rows].transpose(1, 2),
            attn_mask=mask,
            scale=scale,
            enable_gqa=True,
        )
        return attended[:, :, 0]

    def full_attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Kernels.full_attention`."""
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))  # [batch, H, tokens, D]
        return functional.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2)


#: With ALiBi each head has a mask of its own; so many queries at a time bound what it takes.
_ALIBI_QUERIES = 128


def _query_blocks(count: int, alibi_slopes: torch.Tensor | None) -> list[tuple[int, int]]:
    step = count if alibi_slopes is None else _ALIBI_QUERIES
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def _causal_mask(
    length: int,
    new: int,
    sliding_window: int | None,
    alibi_slopes: torch.Tensor | None,
    device: torch.device,
) -> torch.Tensor | None:
    """``[new, length]``, true where a new token may look; None when plain causal order says it.

    With `alibi_slopes` ``[H, new, length]`` float32, to be added to the scores.
    """
    windowed = sliding_window is not None and sliding_window < length
    if new == length and not windowed and alibi_slopes is None:
        return None
    key = torch.arange(length, device=device)
    query = torch.arange(length - new, length, device=device)[:, None]
    mask = key <= query
    if windowed:
        assert sliding_window is not None
        mask &= key > query - sliding_window
    return mask if alibi_slopes is None else _alibi_mask(mask, query - key, alibi_slopes)


def _alibi_mask(
    visible: torch.Tensor, distance: torch.Tensor, alibi_slopes: torch.Tensor
) -> torch.Tensor:
    """``[..., H, new, keys]`` from `visible` and `distance` ``[..., new, keys]``."""
    bias = alibi_slopes[:, None, None] * -distance.unsqueeze(-3)
    return bias.masked_fill(~visible.unsqueeze(-3), float("-inf"))
