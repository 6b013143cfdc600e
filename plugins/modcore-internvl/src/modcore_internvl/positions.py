"""Position embeddings for images of other sizes than the tower was trained on."""

from __future__ import annotations

import torch
from torch.nn import functional


def interpolated(positions: torch.Tensor, grid: int) -> torch.Tensor:
    """`positions` ``[1, 1 + n * n, C]``, the first the class token's, for a `grid` of another side.

    Bicubic, in float32; returns ``[1, 1 + grid * grid, C]`` in the dtype of `positions`.
    """
    side = round((positions.shape[1] - 1) ** 0.5)
    if side == grid:
        return positions
    first, rest = positions[:, :1], positions[:, 1:].float()
    plane = rest.view(1, side, side, -1).permute(0, 3, 1, 2)  # [1, C, n, n]
    wide = functional.interpolate(plane, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([first, wide.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)
