"""A linear weight as PyTorch keeps it: the reference, and the one that shares a tensor."""

from __future__ import annotations

import torch
from torch.nn import functional

from modcore.engine.kernels.linear.base import bias_bytes


class PlainLinear:
    """A plain tensor. `shared` says that somebody else holds it: a head that is the embedding."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, shared: bool = False
    ) -> None:
        self.weight = weight
        self.bias = bias
        self.shape = (weight.shape[0], weight.shape[1])
        self.nbytes = bias_bytes(bias) + (0 if shared else weight.nbytes)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `LinearWeight`."""
        return functional.linear(x, self.weight, self.bias)
