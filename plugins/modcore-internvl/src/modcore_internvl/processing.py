"""From an image to the pixels of its tiles, and the settings that say how.

The values are those of transformers' processor, bit for bit: Pillow resizes, and what follows depends on
nothing but a byte and its channel, so it is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from modcore_internvl.tiling import best_grid

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class Processor:
    """How images are cut and scaled.

    `tile` is the side of a tile in pixels; an image becomes `fewest` to `most` of them, and a
    thumbnail where there are several and `has_thumbnail` says so. `resample` is Pillow's number of a
    filter. `scale` multiplies the bytes; `mean` and `std` are those of the scaled channels, None
    where they are not normalised.
    """

    tile: int
    fewest: int
    most: int
    has_thumbnail: bool
    resample: int
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def tiles(self, width: int, height: int, detail: str) -> int:
        """How many tiles, the thumbnail among them, an image becomes."""
        columns, rows = self.grid(width, height, detail)
        return columns * rows + self._adds_thumbnail(columns * rows)

    def grid(self, width: int, height: int, detail: str) -> tuple[int, int]:
        """Columns and rows; one tile where `detail` is low."""
        if detail == "low" or self.most == 1:
            return 1, 1
        return best_grid(width, height, self.tile, self.fewest, self.most)

    def pixels(self, image: Image, detail: str) -> torch.Tensor:
        """The tiles of `image` (RGB), row by row, then the thumbnail: ``[tiles, 3, tile, tile]``."""
        columns, rows = self.grid(*image.size, detail)
        side, count = self.tile, columns * rows
        extra = self._adds_thumbnail(count)
        out = np.empty((count + extra, 3, side, side), dtype=np.float32)
        whole = self._resized(image, columns * side, rows * side)
        for place in range(count):
            top, left = place // columns * side, place % columns * side
            self._look_up(whole[top : top + side, left : left + side], out[place])
        if extra:
            self._look_up(self._resized(image, side, side), out[count])
        return torch.from_numpy(out)

    def _adds_thumbnail(self, count: int) -> bool:
        return self.has_thumbnail and count != 1

    def _resized(self, image: Image, width: int, height: int) -> npt.NDArray[np.uint8]:
        """``[height, width, 3]``."""
        return np.asarray(image.resize((width, height), resample=self.resample))

    def _look_up(self, tile: npt.NDArray[np.uint8], out: npt.NDArray[np.float32]) -> None:
        for channel in range(3):
            np.take(self._values[channel], tile[:, :, channel], out=out[channel], mode="clip")

    @cached_property
    def _values(self) -> npt.NDArray[np.float32]:
        """What each byte of each channel becomes, ``[3, 256]``, rounded where transformers rounds."""
        values = np.arange(256).astype(np.float32)
        if self.scale is not None:
            values = (np.arange(256).astype(np.float64) * self.scale).astype(np.float32)
        if self.mean is None or self.std is None:
            return np.stack([values] * 3)
        mean = np.array(self.mean, dtype=np.float32)[:, None]
        return (values - mean) / np.array(self.std, dtype=np.float32)[:, None]
