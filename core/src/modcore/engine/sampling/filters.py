"""From logits to the weights that are drawn from: temperature, top-k, top-p, min-p, typical-p.

The order is transformers', and each filter sees what the one before left, as if renormalised. vLLM takes min-p before
top-k and top-p. A row's result depends on its own logits and parameters only, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from modcore.engine.sampling.params import SamplingParams

_FEW = 64  # likeliest tokens that are found faster than a row is sorted
_Filter = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def weights(logits: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor:
    """What each token weighs in its row's draw, ``[batch, vocab]`` float32, not normalised.

    `logits` are ``[batch, vocab]`` float32 with a finite maximum in each row; no row is greedy.
    """
    vocab = logits.shape[-1]
    top_k = [param.top_k if 0 < param.top_k < vocab else 0 for param in params]
    logits = _on_rows(logits, top_k, 0, keep_top_k)
    # The largest logit is taken off first: a small temperature must not overflow.
    temperature = logits.new_tensor([[param.temperature] for param in params])
    scaled = (logits - logits.amax(dim=-1, keepdim=True)).div_(temperature)
    # `softmax` works row by row, where `exp` computes the end of a tensor in another way than its
    # middle. In place on a CPU: fresh pages cost more than what is computed in them.
    result = torch.softmax(scaled, dim=-1, out=scaled if scaled.device.type == "cpu" else None)
    for values, neutral, function in (
        ([param.top_p for param in params], 1, keep_top_p),
        ([param.min_p for param in params], 0, keep_min_p),
        ([param.typical_p for param in params], 1, keep_typical),
    ):
        result = _on_rows(result, values, neutral, function)
    return result


def _on_rows(
    tensor: torch.Tensor, values: Sequence[float], neutral: float, function: _Filter
) -> torch.Tensor:
    """`function` on the rows whose value is not the neutral one."""
    rows = [row for row, value in enumerate(values) if value != neutral]
    if not rows:
        return tensor
    column = torch.tensor(
        [[values[row]] for row in rows], dtype=torch.float64, device=tensor.device
    )
    if len(rows) == len(values):
        return function(tensor, column)
    index = torch.tensor(rows, device=tensor.device)
    return tensor.index_copy(0, index, function(tensor[index], column))


def keep_top_k(logits: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """The k likeliest; those as likely as the k-th stay, as in transformers and vLLM."""
    most = int(k.max())
    if most <= _FEW:
        last = logits.topk(most).values.gather(-1, k.long() - 1)
    else:
        last = _ascending(logits).gather(-1, logits.shape[-1] - k.long())
    return torch.where(logits >= last, logits, -torch.inf)


def keep_top_p(weights: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The smallest set of likeliest tokens that holds top_p of the whole (arXiv 1904.09751).

    Of tokens that are equally likely, those with the lower ids are taken first.
    """
    vocab = weights.shape[-1]
    ascending = _ascending(weights)
    ranked = ascending.flip(-1)
    cumulated = ranked.cumsum(dim=-1)  # a CPU accumulates in double, and rounds
    # A token belongs to the set when those before it do not hold top_p yet.
    enough = cumulated[:, -1:] * top_p.to(weights.dtype)
    size = (torch.searchsorted(cumulated, enough) + 1).clamp_(max=vocab)  # [batch, 1]
    last = ranked.gather(-1, size - 1)
    surplus = vocab - torch.searchsorted(ascending, last) - size
    kept = torch.where(weights >= last, weights, 0.0)
    rows = surplus.squeeze(-1).nonzero().squeeze(-1)
    if len(rows):
        equal = kept[rows] == last[rows]
        rank = equal.cumsum(dim=-1)
        dropped = equal & (rank > rank[:, -1:] - surplus[rows])
        kept[rows] = kept[rows].masked_fill_(dropped, 0.0)
    return kept


def keep_min_p(weights: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Those at least min_p times as likely as the likeliest (arXiv 2407.01082)."""
    least = weights.amax(dim=-1, keepdim=True) * min_p.to(weights.dtype)
    return torch.where(weights >= least, weights, 0.0)


def keep_typical(weights: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """Those whose surprise is nearest to the expected one, holding `mass` (arXiv 2202.00666)."""
    probabilities = weights / weights.sum(dim=-1, keepdim=True)
    surprise = -probabilities.log()  # inf where a filter has been
    entropy = (probabilities * surprise).nansum(dim=-1, keepdim=True)
    distance, order = (surprise - entropy).abs().sort(dim=-1, stable=True)
    cumulated = probabilities.gather(-1, order).cumsum(dim=-1)
    last = (cumulated < mass).sum(dim=-1, keepdim=True).clamp_(max=weights.shape[-1] - 1)
    near = (surprise - entropy).abs() <= distance.gather(-1, last)
    return torch.where(near, weights, 0.0)


def _ascending(values: torch.Tensor) -> torch.Tensor:
    """Each row's values from the smallest up, without where they came from.

    On a CPU NumPy does it: fifty times as fast as `torch.sort`, which carries the indices along.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.detach().numpy(), axis=-1))
    return values.sort(dim=-1).values
