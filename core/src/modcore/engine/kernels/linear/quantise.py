"""Rounding weights: to 8 bits by row, to 4 bits by group. Blocks of rows at a time, to stay small."""

from __future__ import annotations

from collections.abc import Iterator

import torch

#: Rows that are worked on at once: bounds the memory that rounding and unrounding take.
BLOCK_ROWS = 512


def row_blocks(rows: int) -> Iterator[slice]:
    """The blocks that `rows` fall into."""
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))


def to_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight` ``[out, in]`` as int8 of that shape and scales ``[out]`` float32: ``w = q * scale``."""
    rounded = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(len(weight), dtype=torch.float32)
    for rows in row_blocks(len(weight)):
        block = weight[rows].float()
        scale = (block.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        rounded[rows] = (block / scale[:, None]).round_().to(torch.int8)
        scales[rows] = scale
    return rounded, scales


def to_int4(
    weight: torch.Tensor, group: int
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Blocks of `weight` ``[out, in]``, as rows, numbers 0 to 15 int32 ``[rows, in]``, scale and zero.

    `scale` and `zero` are bfloat16 ``[rows, in / group]``, and ``w = (q - 8) * scale + zero``: the form of
    ``_weight_int4pack_mm_for_cpu``. Of some ranges, from the whole to a tighter one that cuts outliers off, each group
    takes the one that leaves the smallest squared error.
    """
    for rows in row_blocks(len(weight)):
        block = (
            weight[rows].float().reshape(rows.stop - rows.start, -1, group)
        )  # [rows, groups, group]
        low, high = block.amin(-1, keepdim=True), block.amax(-1, keepdim=True)
        best = torch.full_like(low, torch.inf)
        kept = torch.zeros_like(block), torch.zeros_like(low), torch.zeros_like(low)
        for part in (1.0, 0.9, 0.8):
            middle, half = (high + low) / 2, (high - low) / 2 * part
            scale = (half * 2 / 15).clamp_min(1e-8).bfloat16().float()
            zero = (
                (middle + scale / 2).bfloat16().float()
            )  # codes 0 to 15 lie at -8 to 7 scales from it
            codes = ((block - zero) / scale + 8).round_().clamp_(0, 15)
            error = ((codes - 8) * scale + zero - block).square().sum(-1, keepdim=True)
            better = error < best
            best = torch.where(better, error, best)
            kept = tuple(  # type: ignore[assignment]
                torch.where(better, new, old)
                for new, old in zip((codes, scale, zero), kept, strict=True)
            )
        codes, scale, zero = kept
        yield (
            rows,
            codes.flatten(1).to(torch.int32),
            scale.squeeze(-1).bfloat16(),
            zero.squeeze(-1).bfloat16(),
        )
