"""Drawing from weights: one number a row, found in the row's cumulated weights."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

_CHUNK = 256


def draw(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The token of each row at `uniform` (``[batch, 1]`` float64 in [0, 1)); ``[batch]`` int64.

    `weights` are ``[batch, vocab]``, not negative and not all zero; a token that weighs nothing is never
    drawn. The place is found in two steps, among chunks and inside one: cumulating the whole
    vocabulary would take as long as all the rest. Chunks are summed in float32, which moves a
    token's probability by 1e-7 at most.
    """
    batch, vocab = weights.shape
    if vocab % _CHUNK:
        weights = pad(weights, (0, -vocab % _CHUNK))
    chunks = weights.view(batch, -1, _CHUNK)
    ends = chunks.sum(dim=-1).double().cumsum(dim=-1)  # [batch, chunks]
    target = _below(uniform * ends[:, -1:], ends)
    chunk = torch.searchsorted(ends, target, right=True)  # [batch, 1]
    start = pad(ends, (1, 0)).gather(-1, chunk)
    inside = chunks.gather(1, chunk[:, :, None].expand(-1, -1, _CHUNK)).squeeze(1)
    inside = inside.cumsum(dim=-1, dtype=torch.float64)  # [batch, _CHUNK]
    place = torch.searchsorted(inside, _below(target - start, inside), right=True)
    return (chunk * _CHUNK + place).squeeze(-1)


def _below(target: torch.Tensor, cumulated: torch.Tensor) -> torch.Tensor:
    """`target`, below the last of `cumulated` even where it was rounded up to it."""
    last = cumulated[:, -1:]
    return torch.minimum(target, torch.nextafter(last, torch.zeros_like(last)))
