"""How an image is cut into tiles: the grid whose shape is nearest to the image's.

The rule is that of the published models (arXiv 2404.16821, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator

#: More tiles of one image than this are not served: the grids are looked through one by one.
MOST_TILES = 4096


def best_grid(width: int, height: int, tile: int, fewest: int, most: int) -> tuple[int, int]:
    """Columns and rows for an image of `width` times `height`, `fewest` to `most` tiles together.

    Among grids as near to the image's shape, the larger is taken while the image has more than half
    of its pixels.
    """
    shape = width / height
    nearest = float("inf")
    best = (1, 1)
    for columns, rows in sorted(_candidates(shape, fewest, most), key=_order):
        distance = abs(shape - columns / rows)
        is_filled = width * height > 0.5 * tile * tile * columns * rows
        if distance < nearest or (distance == nearest and is_filled):
            nearest, best = distance, (columns, rows)
    return best


def _order(grid: tuple[int, int]) -> tuple[int, int]:
    return grid[0] * grid[1], grid[0]


def _candidates(shape: float, fewest: int, most: int) -> Iterator[tuple[int, int]]:
    """For each number of columns the two numbers of rows, among those allowed, that come nearest."""
    for columns in range(1, most + 1):
        low, high = -(-fewest // columns), most // columns
        if low <= high:
            wanted = int(columns / shape)
            yield from {(columns, min(max(rows, low), high)) for rows in (wanted, wanted + 1)}
