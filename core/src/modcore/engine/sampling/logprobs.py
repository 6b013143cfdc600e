"""Log probabilities of tokens, from the model's own distribution.

That is the softmax of the logits as the model made them, before penalties, biases, masks, temperature and filters, as
OpenAI and vLLM (``raw_logprobs``) report them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modcore.errors import StepFailed

_ROWS = 256  # computed together: a long prompt's would be gigabytes


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's log probability (natural), and the likeliest tokens of its place with theirs.

    `top` begins with the likeliest, equal ones by id. A logprob is ``-inf`` where the model gave ``-inf``.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def token_logprobs(
    logits: torch.Tensor, tokens: Sequence[int], top: int | Sequence[int]
) -> list[TokenLogprob]:
    """The record of ``tokens[i]`` under row i of `logits`, ``[len(tokens), vocab]`` float32.

    `top` is how many likeliest tokens each record holds, one number for all or one each.
    """
    each = [top] * len(tokens) if isinstance(top, int) else list(top)
    records: list[TokenLogprob] = []
    for start in range(0, len(tokens), _ROWS):
        part = slice(start, start + _ROWS)
        records += _records(logits[part], tokens[part], each[part])
    return records


def prompt_logprobs(logits: torch.Tensor, ids: Sequence[int], top: int) -> list[TokenLogprob]:
    """The records of ``ids[1:]``; `logits` are those of the prompt's positions, ``[len(ids), vocab]``.

    The first token has none. Raises StepFailed where the logits are not finite.
    """
    before = logits[: len(ids) - 1]
    if before.numel() and not torch.isfinite(before.amax(dim=-1)).all():
        raise StepFailed("The model computed values that are not finite; try dtype float32.")
    return token_logprobs(before, ids[1:], top)


def _records(logits: torch.Tensor, tokens: Sequence[int], top: Sequence[int]) -> list[TokenLogprob]:
    total = logits.logsumexp(dim=-1, keepdim=True)  # [rows, 1]
    chosen = torch.tensor(tokens, device=logits.device)[:, None]
    own = (logits.gather(-1, chosen) - total).squeeze(-1).tolist()
    most = min(max(top), logits.shape[-1])
    if not most:
        return [TokenLogprob(*pair) for pair in zip(tokens, own, strict=True)]
    values, ids = top_tokens(logits, most)
    likeliest = [
        tuple(zip(*pair, strict=True))
        for pair in zip(ids.tolist(), (values - total).tolist(), strict=True)
    ]
    return [
        TokenLogprob(token, logprob, pairs[:count])
        for token, logprob, pairs, count in zip(tokens, own, likeliest, top, strict=True)
    ]


def top_tokens(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` largest logits of each row and their ids, equal ones by id; ``[rows, count]`` both.

    `topk` alone takes any of those that equal the last one; half-precision models have many.
    """
    values, ids = logits.topk(count, dim=-1)
    last = values[:, -1:]
    ties = (logits == last).sum(dim=-1) > (values == last).sum(dim=-1)
    for row in ties.nonzero().squeeze(-1).tolist():
        above = ids[row][values[row] > last[row]]
        equal = (logits[row] == last[row]).nonzero().squeeze(-1)
        ids[row] = torch.cat([above, equal])[:count]
    ids = ids.sort(dim=-1).values
    values, order = logits.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    return values, ids.gather(-1, order)
