"""Attention with linear biases: how fast each head's attention falls with the distance."""

from __future__ import annotations

import torch

_STEEPEST = 8.0  # the last of a power of two of heads has the slope 2**-8


def alibi_slopes(heads: int) -> torch.Tensor:
    """The slopes of `heads` heads, ``[heads]`` float32 (ALiBi, arXiv 2108.12409).

    A power of two of heads has the geometric sequence that ends at 2**-8. Any other number takes
    that of the power of two below it, then every other slope of the power of two above it.
    """
    below = 1 << (heads.bit_length() - 1)
    between = [(2 * i + 1) / 2 for i in range(heads - below)]
    exponents = torch.tensor([*range(1, below + 1), *between], dtype=torch.float64)
    return torch.exp2(-_STEEPEST * exponents / below).float()
