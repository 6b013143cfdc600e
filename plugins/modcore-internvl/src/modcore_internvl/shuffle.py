"""Pixel shuffle: the patches of a square become one token (arXiv 2312.14238, section 3; 2404.16821)."""

from __future__ import annotations

import torch


def pixel_shuffle(features: torch.Tensor, factor: int, *, is_transposed: bool) -> torch.Tensor:
    """`features` ``[tiles, grid, grid, C]`` -> ``[tiles, (grid / factor) ** 2, factor ** 2 * C]``.

    `is_transposed` is version 1: its tokens go down the columns of the image.
    """
    tiles, grid, _, width = features.shape
    side = grid // factor
    squares = features.view(tiles, side, factor, side, factor, width)
    order = (0, 3, 1, 2, 4, 5) if is_transposed else (0, 1, 3, 2, 4, 5)
    return squares.permute(order).reshape(tiles, side * side, factor * factor * width)
