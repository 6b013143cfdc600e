"""From logits to the weights that are drawn from: temperature, top-k, top-p, min-p, typical-p.

The order is transformers', and each filter sees what the one before left, renormalised. vLLM takes min-p before
top-k and top-p. A row's result depends on its own logits and parameters only, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from modcore.engine.sampling.params import SamplingParams

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
    probabilities = scaled.softmax(dim=-1)
    for values, neutral, function in (
        ([param.top_p for param in params], 1, keep_top_p),
        ([param.min_p for param in params], 0, keep_min_p),
        ([param.typical_p for param in params], 1, keep_typical),
    ):
        probabilities = _on_rows(probabilities, values, neutral, function)
    return probabilities


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
    last = _descending(logits).gather(-1, k.long() - 1)
    return torch.where(logits >= last, logits, -torch.inf)


def keep_top_p(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The smallest set of likeliest tokens that holds top_p (arXiv 1904.09751).

    Of tokens that are equally likely, those with the lower ids are taken first.
    """
    ranked = _descending(probabilities)
    cumulated = ranked.cumsum(dim=-1, dtype=torch.float64)
    # A token belongs to the set when those before it do not hold top_p yet.
    size = (cumulated - ranked < top_p).sum(dim=-1, keepdim=True)  # [batch, 1]
    last = ranked.gather(-1, size - 1)
    kept = torch.where(probabilities >= last, probabilities, 0.0)
    surplus = (ranked >= last).sum(dim=-1, keepdim=True) - size
    rows = surplus.squeeze(-1).nonzero().squeeze(-1)
    if len(rows):
        equal = probabilities[rows] == last[rows]
        rank = equal.cumsum(dim=-1)
        dropped = equal & (rank > rank[:, -1:] - surplus[rows])
        kept[rows] = kept[rows].masked_fill_(dropped, 0.0)
    return kept


def keep_min_p(probabilities: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Those at least min_p times as likely as the likeliest (arXiv 2407.01082)."""
    least = probabilities.amax(dim=-1, keepdim=True) * min_p.to(probabilities.dtype)
    return torch.where(probabilities >= least, probabilities, 0.0)


def keep_typical(probabilities: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """Those whose surprise is nearest to the expected one, holding `mass` (arXiv 2202.00666)."""
    probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    surprise = -probabilities.log()  # inf where a filter has been
    entropy = (probabilities * surprise).nansum(dim=-1, keepdim=True)
    distance, order = (surprise - entropy).abs().sort(dim=-1, stable=True)
    cumulated = probabilities.gather(-1, order).cumsum(dim=-1, dtype=torch.float64)
    last = (cumulated < mass).sum(dim=-1, keepdim=True).clamp_(max=probabilities.shape[-1] - 1)
    near = (surprise - entropy).abs() <= distance.gather(-1, last)
    return torch.where(near, probabilities, 0.0)


def _descending(values: torch.Tensor) -> torch.Tensor:
    """Each row's values from the largest down, without where they came from.

    On a CPU NumPy does it: fifty times as fast as `torch.sort`, which carries the indices along.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.detach().numpy(), axis=-1)).flip(-1)
    return values.sort(dim=-1, descending=True).values
