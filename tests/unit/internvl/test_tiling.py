"""The grid of an image is the published rule's, found without looking at every grid."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from modcore_internvl.tiling import MOST_TILES, best_grid

SIDES = st.integers(1, 4000) | st.sampled_from([28, 56, 84, 100, 200, 300, 400, 448, 896])


@settings(max_examples=500)
@given(SIDES, SIDES, st.sampled_from([28, 56, 448]), st.integers(1, 12), st.integers(0, 20))
def test_grid_is_the_one_that_transformers_finds(
    width: int, height: int, tile: int, fewest: int, more: int
) -> None:
    most = fewest + more
    expected = get_optimal_tiled_canvas((height, width), (tile, tile), fewest, most)
    assert best_grid(width, height, tile, fewest, most) == expected


@settings(max_examples=200)
@given(SIDES, st.integers(1, 6), st.integers(1, 6), st.integers(1, 40))
def test_shapes_that_several_grids_have_are_decided_alike(
    side: int, columns: int, rows: int, most: int
) -> None:
    width, height = side * columns, side * rows
    expected = get_optimal_tiled_canvas((height, width), (28, 28), 1, most)
    assert best_grid(width, height, 28, 1, most) == expected


def test_most_extreme_image_and_limit_take_no_time() -> None:
    before = time.process_time()
    assert best_grid(10**9, 1, 448, 1, MOST_TILES) == (MOST_TILES, 1)
    assert best_grid(1, 10**9, 448, 1, MOST_TILES) == (1, MOST_TILES)
    assert time.process_time() - before < 1.0
