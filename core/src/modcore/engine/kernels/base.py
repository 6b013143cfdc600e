"""The kernel interface: what a faster implementation has to offer."""

from __future__ import annotations

import logging
import os
from typing import Protocol

import torch

from modcore.engine.kernels.linear import LinearWeight, RowTable
from modcore.engine.state import InferStateInfo
from modcore.errors import InvalidRequest, ModcoreError

_CHOICES = ("auto", "native", "reference")
_log = logging.getLogger(__name__)


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

    def layer_norm(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> torch.Tensor:
        """Layer norm over the last dimension (arXiv 1607.06450), computed in float32."""
        ...

    def rotary(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Rotate `x` ``[T, H, D]`` by `cos` and `sin` ``[T, D / 2]``, halves paired (RoFormer)."""
        ...

    def activation(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """The activation `name` (one of `modcore.engine.config.ACTIVATIONS`) of each element."""
        ...

    def gated_activation(self, gate_up: torch.Tensor, activation: str) -> torch.Tensor:
        """``[T, 2 * F]``, gate then up -> ``activation(gate) * up`` ``[T, F]``."""
        ...

    def store(self, rows: torch.Tensor, new: torch.Tensor, index: torch.Tensor) -> None:
        """Write `new` ``[T, K, D]`` to one layer's `rows` ``[rows, K, D]`` at `index` ``[T]``."""
        ...

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
        """Causal attention over each request's own rows, for those that read several tokens.

        `q` ``[T, H, D]`` are the tokens behind the batch's decode part.
        `keys` and `values` are one layer's ``[rows, K, D]``. Returns ``[T, H, D]``. With
        `sliding_window` a token sees itself and the ``sliding_window - 1`` tokens before it. With
        `alibi_slopes` ``[H]`` float32, a head's slope times the distance to a key is taken from the
        scaled score (ALiBi, arXiv 2108.12409).
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
        alibi_slopes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As `context_attention` for the decode part: `q` ``[decode, H, D]``, one token a request."""
        ...

    def full_attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attention in which every token of a sequence sees all of it, as in a tower over images.

        `q`, `k` and `v` are ``[batch, tokens, H, D]``, and so is what is returned.
        """
        ...


def select_kernels(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The fastest kernels there are for `device` and `dtype`.

    The environment variable ``MODCORE_KERNELS`` chooses: ``native`` (an error where they cannot be
    compiled), ``reference``, or ``auto`` (default: native where they can be).
    """
    from modcore.engine.kernels.reference import TorchKernels

    wanted = os.environ.get("MODCORE_KERNELS", "auto")
    if wanted not in _CHOICES:
        raise InvalidRequest(
            f"MODCORE_KERNELS is {wanted!r}; it has to be one of {', '.join(_CHOICES)}.",
            param="MODCORE_KERNELS",
        )
    if wanted == "reference" or device.type != "cpu":
        return TorchKernels()
    from modcore.engine.kernels.cpu import CpuKernels
    from modcore.engine.kernels.native.compile import CompilationFailed
    from modcore.engine.kernels.native.kernels import NativeKernels

    try:
        return NativeKernels(dtype)
    except CompilationFailed as error:
        if wanted == "native":
            raise ModcoreError(
                f"The native kernels cannot be used: {error}. Install a compiler, or set "
                "MODCORE_KERNELS=auto."
            ) from error
        _log.info("The native kernels cannot be used, so decoding is slower: %s", error)
        return CpuKernels()
