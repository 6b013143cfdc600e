"""The parts of the tower that have a formula of their own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from modcore_internvl.positions import interpolated
from modcore_internvl.shuffle import pixel_shuffle


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize(("grid", "factor"), [(4, 2), (6, 3), (5, 1), (8, 4)])
def test_pixel_shuffle_gathers_a_square_row_by_row(
    grid: int, factor: int, is_transposed: bool
) -> None:
    features = torch.randn(2, grid, grid, 3)
    shuffled = pixel_shuffle(features, factor, is_transposed=is_transposed)
    side = grid // factor
    for token in range(side * side):
        row, column = divmod(token, side)
        if is_transposed:
            row, column = column, row
        rows = slice(row * factor, (row + 1) * factor)
        columns = slice(column * factor, (column + 1) * factor)
        assert torch.equal(shuffled[:, token], features[:, rows, columns].flatten(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_of_another_grid_are_bicubic_in_float32(dtype: torch.dtype) -> None:
    positions = torch.randn(1, 17, 6).to(dtype)
    wide = interpolated(positions, 7)
    plane = positions[:, 1:].float().view(1, 4, 4, 6).permute(0, 3, 1, 2)
    expected = functional.interpolate(plane, size=(7, 7), mode="bicubic")
    assert torch.equal(wide[:, :1], positions[:, :1])
    assert torch.equal(wide[0, 1:].T.reshape(1, 6, 7, 7), expected.to(dtype))
    assert interpolated(positions, 4) is positions
