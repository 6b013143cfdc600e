"""The kernel interface: what a faster implementation has to offer."""

from __future__ import annotations

from typing import Protocol

import torch

from modcore.engine.kernels.linear import LinearWeight, RowTable
from modcore.engine.state import InferStateInfo


class Kernels(Protocol):
    """The operators of the layers. T: new tokens of the batch, H: heads, K: KV heads, D: head_dim."""

    def embedding(self, ids: torch.Tensor, table: torch.Tensor | RowTable) -> torch.Tensor:
        """Rows of `table` ``[vocab, hidden]`` for `ids` ``[T]`` -> ``[T, hidden]``."""
        ...

    def pack_linear(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        linear_format: str = "exact",
        *,
        shared: bool = False,
    ) -> LinearWeight:
        """`weight` ``[out, in]`` and `bias` ``[out]`` as what multiplies with them fastest.

        `linear_format` is ``exact``, or a quantised one: ``int8``, ``int4``; a weight that does not
        fit the format is kept in the next more exact one. `shared` says that somebody holds `weight`
        anyway, so that an exact copy would only cost memory.
        Raises InvalidRequest for a format that these kernels do not have.
        """
        ...

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """Root-mean-square norm over the last dimension (arXiv 1910.07467), computed in float32."""
        ...

    def rotary(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Rotate `x` ``[T, H, D]`` by `cos` and `sin` ``[T, D / 2]``, halves paired (RoFormer)."""
        ...

    def gated_activation(self, gate_up: torch.Tensor, activation: str) -> torch.Tensor:
        """``[T, 2 * F]``, gate then up -> ``activation(gate) * up`` ``[T, F]``."""
        ...

    def context_attention(
        self,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        state: InferStateInfo,
        scale: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        """Causal attention of all new tokens `q` ``[T, H, D]`` over each request's own rows.

        `keys` and `values` are one layer's ``[rows, K, D]``. Returns ``[T, H, D]``. With
        `sliding_window` a token sees itself and the ``sliding_window - 1`` tokens before it.
        """
        ...

    def token_attention(
        self,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        state: InferStateInfo,
        scale: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        """As `context_attention` for a decode step: `q` ``[batch, H, D]``, one token a request."""
        ...


def select_kernels(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The fastest kernels there are for `device` and `dtype`."""
    del dtype
    if device.type == "cpu":
        from modcore.engine.kernels.cpu import CpuKernels

        return CpuKernels()
    from modcore.engine.kernels.reference import TorchKernels

    return TorchKernels()
