"""The tower and the projector: from pixels to what the language model reads in place of embeddings.

Tiles are taken a few at a time, and everything but attention a block of rows at a time, so that what
lies between two products stays in the cache, and memory does not grow with the number of tiles.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from modcore.engine.kernels import Kernels
from modcore.errors import InvalidRequest
from modcore_internvl.config import InternVLConfig
from modcore_internvl.files import VisionWeights
from modcore_internvl.positions import interpolated
from modcore_internvl.shuffle import pixel_shuffle
from modcore_internvl.weights import BlockWeight

#: Rows, tokens of whatever tile, that pass through a layer's products together.
ROWS = 2048
#: Tiles that pass through a layer together.
TILES = 2
PROJECTOR_EPS = 1e-5


class Tower:
    """Vision tower, pixel shuffle and projector over loaded `weights`."""

    def __init__(
        self, config: InternVLConfig, weights: VisionWeights, kernels: Kernels, dtype: torch.dtype
    ) -> None:
        self.config, self.weights, self.kernels, self.dtype = config, weights, kernels, dtype
        self._positions: dict[int, torch.Tensor] = {}

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """`pixels` ``[tiles, 3, side, side]`` -> ``[tiles, tokens, hidden]``.

        Raises InvalidRequest, with the counts, for tiles that pixel shuffle cannot divide.
        """
        self.verify(pixels)
        return torch.cat([self._features(tiles) for tiles in torch.split(pixels, TILES)])

    def verify(self, pixels: torch.Tensor) -> None:
        """Raise InvalidRequest unless `pixels` are square tiles that become whole tokens."""
        if pixels.dim() != 4 or pixels.shape[1] != 3 or pixels.shape[2] != pixels.shape[3]:
            raise InvalidRequest(
                f"Pixels of shape {list(pixels.shape)} are no square tiles; give [tiles, 3, side, side].",
                param="pixel_values",
            )
        grid, factor = pixels.shape[2] // self.config.tower.patch_size, self.config.shuffle
        if grid == 0 or grid % factor:
            raise InvalidRequest(
                f"A tile of {pixels.shape[2]} pixels is {grid} patches of "
                f"{self.config.tower.patch_size} a side, which pixel shuffle cannot divide by {factor}.",
                param="pixel_values",
            )

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        tiles = len(pixels)
        grid = pixels.shape[2] // self.config.tower.patch_size
        x = self._embed(pixels, grid)
        for weight in self.weights.blocks:
            self._block(x, weight, tiles)
        width = self.config.tower.hidden_size
        x = self._final_norm(x).view(tiles, -1, width)[:, 1:]  # without the class token
        squares = x.reshape(tiles, grid, grid, width)
        shuffled = pixel_shuffle(
            squares, self.config.shuffle, is_transposed=self.config.is_transposed
        )
        features = self._project(shuffled.flatten(0, 1))
        return features.view(tiles, -1, features.shape[1])

    def _embed(self, pixels: torch.Tensor, grid: int) -> torch.Tensor:
        """``[tiles * (1 + grid * grid), C]``: a class token and the patches of each tile."""
        side, weight = self.config.tower.patch_size, self.weights.embedding
        tiles = len(pixels)
        cut = pixels[:, :, : grid * side, : grid * side].to(self.dtype)
        cut = cut.view(tiles, 3, grid, side, grid, side)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(tiles * grid * grid, -1)
        embedded = weight.patches(patches).view(tiles, grid * grid, -1)
        x = torch.cat([weight.class_embedding.expand(tiles, -1, -1), embedded], dim=1)
        if weight.positions is not None:
            x += self._positions_of(weight.positions, grid)
        return x.flatten(0, 1)

    def _positions_of(self, positions: torch.Tensor, grid: int) -> torch.Tensor:
        kept = self._positions.get(grid)
        if kept is None:  # another thread may keep those of its grid meanwhile
            kept = interpolated(positions, grid)
            self._positions = {grid: kept}
        return kept

    def _block(self, x: torch.Tensor, weight: BlockWeight, tiles: int) -> None:
        """One layer, added to the residual stream `x` ``[tokens, C]``."""
        attended = self._attention(x, weight, tiles)
        for rows in _blocks(len(x)):
            part = x[rows]
            part += weight.attention_out(attended[rows])
            part += weight.fc2(self._inner(part, weight))

    def _inner(self, x: torch.Tensor, weight: BlockWeight) -> torch.Tensor:
        """Between the two products of the MLP; by itself, so that nothing else outlives it."""
        wide = weight.fc1(self._norm(x, weight.norm_2, weight.norm_2_bias))
        return self.kernels.activation(wide, self.config.tower.hidden_act)

    def _attention(self, x: torch.Tensor, weight: BlockWeight, tiles: int) -> torch.Tensor:
        """Every token of a tile sees the tile; ``[tokens, C]`` before the output projection."""
        qkv = torch.empty(len(x), 3 * x.shape[1], dtype=x.dtype)
        for rows in _blocks(len(x)):
            qkv[rows] = weight.qkv(self._norm(x[rows], weight.norm_1, weight.norm_1_bias))
        parts = qkv.view(tiles, -1, 3, x.shape[1]).unbind(2)  # [tiles, tokens, C] each
        q, k = self._normed(parts[0], weight.q_norm), self._normed(parts[1], weight.k_norm)
        q, k, v = (self._by_head(each) for each in (q, k, parts[2]))
        attended = self.kernels.full_attention(q, k, v, q.shape[3] ** -0.5)
        return attended.reshape(x.shape)

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """``[tiles, tokens, C]`` -> ``[tiles, tokens, heads, D]``."""
        heads = self.config.tower.num_attention_heads
        return x.view(*x.shape[:2], heads, x.shape[2] // heads)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        eps = self.config.tower.qk_norm_eps
        return x if weight is None else self.kernels.rms_norm(x, weight, eps)

    def _norm(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        eps = self.config.tower.norm_eps
        if bias is None:
            return self.kernels.rms_norm(x, weight, eps)
        return self.kernels.layer_norm(x, weight, bias, eps)

    def _final_norm(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weights.embedding
        if weight.final_norm is None or weight.final_norm_bias is None:
            return x
        return self.kernels.layer_norm(
            x, weight.final_norm, weight.final_norm_bias, self.config.tower.norm_eps
        )

    def _project(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weights.projector
        normed = self.kernels.layer_norm(x, weight.norm_1, weight.norm_1_bias, PROJECTOR_EPS)
        return weight.fc2(self.kernels.activation(weight.fc1(normed), self.config.projector_act))


def _blocks(count: int) -> Iterator[slice]:
    """`count` rows in blocks of at most `ROWS`, in sizes that products take as they are: others are padded."""
    start = 0
    while start < count:
        size = min(ROWS, count - start)
        size -= size % (1 << max(size.bit_length() - 4, 0))
        yield slice(start, start + size)
        start += size
