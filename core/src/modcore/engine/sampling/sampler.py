"""The choice of the next tokens for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modcore.engine.sampling.draw import draw
from modcore.engine.sampling.edits import edit_logits
from modcore.engine.sampling.filters import weights
from modcore.engine.sampling.logprobs import TokenLogprob, token_logprobs
from modcore.engine.sampling.state import SamplingState
from modcore.errors import StepFailed


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was chosen, row by row.

    A row with an error has the token -1 and no record. `logprobs` holds a record where the sequence
    asks for one.
    """

    tokens: list[int]
    logprobs: list[TokenLogprob | None]
    errors: list[StepFailed | None]


def sample(logits: torch.Tensor, states: Sequence[SamplingState]) -> Sampled:
    """Choose the next token of each of `states` from ``[batch, vocab]`` float32 `logits`.

    `logits` stay as they are. Each state gives a random number and nothing else; hand it the token with
    `accept`. A row whose logits hold NaN or +inf, or nothing but -inf, gets an error of its own.

    A batch that is all greedy costs one pass for the maxima: NaN and +inf win it, so looking at the
    winners is enough to find them.
    """
    winners, tokens = logits.max(dim=-1)
    errors = [None if is_good else _not_finite() for is_good in torch.isfinite(winners).tolist()]
    edited = edit_logits(logits, states)
    if edited is not logits:
        winners, tokens = edited.max(dim=-1)
        for row, is_good in enumerate(torch.isfinite(winners).tolist()):
            errors[row] = errors[row] or _edit_error(states[row], is_good)
    drawn = [
        row
        for row, state in enumerate(states)
        if not state.params.is_greedy and errors[row] is None
    ]
    if drawn:
        index = torch.tensor(drawn, device=logits.device)
        params = [states[row].params for row in drawn]
        uniform = torch.tensor([[states[row].uniform()] for row in drawn], dtype=torch.float64)
        some = edited if len(drawn) == len(states) else edited[index]
        tokens[index] = draw(weights(some, params), uniform.to(logits.device))
    chosen = [
        token if error is None else -1 for token, error in zip(tokens.tolist(), errors, strict=True)
    ]
    records = _records(logits, states, chosen)
    return Sampled(chosen, records, errors)


def final_distribution(logits: torch.Tensor, states: Sequence[SamplingState]) -> torch.Tensor:
    """The distributions that `sample` draws from, ``[batch, vocab]`` float64; a greedy row's is one token's."""
    edited = edit_logits(logits, states)
    result = torch.zeros(logits.shape, dtype=torch.float64, device=logits.device)
    for row, state in enumerate(states):
        if state.params.is_greedy:
            result[row, edited[row].argmax()] = 1
        else:
            mass = weights(edited[row : row + 1], [state.params]).double()
            result[row] = mass[0] / mass.sum()
    return result


def _records(
    logits: torch.Tensor, states: Sequence[SamplingState], tokens: list[int]
) -> list[TokenLogprob | None]:
    records: list[TokenLogprob | None] = [None] * len(tokens)
    wanted = [
        (row, top)
        for row, state in enumerate(states)
        if (top := state.top_logprobs) is not None and tokens[row] >= 0
    ]
    if wanted:
        rows = [row for row, _ in wanted]
        made = token_logprobs(
            logits[rows], [tokens[row] for row in rows], [top for _, top in wanted]
        )
        for row, record in zip(rows, made, strict=True):
            records[row] = record
    return records


def _not_finite() -> StepFailed:
    return StepFailed("The model computed values that are not finite; try dtype float32.")


def _edit_error(state: SamplingState, is_good: bool) -> StepFailed | None:
    if state.constraint is not None and state.constraint.error:
        return StepFailed(
            f"The grammar cannot be followed any further ({state.constraint.error}); "
            "make json_schema or regex simpler."
        )
    if not is_good:
        return StepFailed(
            "No token is left to choose from: the grammar, min_tokens and stop_token_ids, or the "
            "penalties rule out each other; loosen one of them."
        )
    return None
