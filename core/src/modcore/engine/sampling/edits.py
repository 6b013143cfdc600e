"""What changes logits before the temperature does: penalties, biases, and tokens that may not come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from modcore.engine.sampling.grammar import fill_masks
from modcore.engine.sampling.state import SamplingState


def edit_logits(logits: torch.Tensor, states: Sequence[SamplingState]) -> torch.Tensor:
    """`logits`, ``[batch, vocab]``, with each row's edits: themselves if there are none, else a copy.

    The order is penalties, biases, `min_tokens`, grammar. vLLM and transformers add biases before the
    penalties; here they come after, so that a bias is worth what it says.
    """
    rows = [row for row, state in enumerate(states) if state.edits_logits]
    if not rows:
        return logits
    logits = logits.clone()
    _penalise(logits, states, rows)
    _add_biases(logits, states, rows)
    _mask_ends(logits, states, rows)
    _mask_by_grammar(logits, states, rows)
    return logits


def _penalise(logits: torch.Tensor, states: Sequence[SamplingState], rows: list[int]) -> None:
    """The penalties on the tokens that a sequence holds; all else is left alone.

    Repetition: arXiv 1909.05858; presence and frequency: the OpenAI API reference.
    """
    parts = [(row, counts) for row in rows if (counts := states[row].counts) is not None]
    sizes = [len(counts.ids) for _, counts in parts]
    if not sum(sizes):
        return
    place = _places(logits, [row for row, _ in parts], [counts.ids for _, counts in parts])
    times = torch.from_numpy(np.concatenate([each.counts for _, each in parts])).to(logits.device)
    params = [states[row].params for row, _ in parts]
    repetition, presence, frequency = (
        torch.from_numpy(np.repeat(np.array(values, np.float32), sizes)).to(logits.device)
        for values in (
            [param.repetition_penalty for param in params],
            [param.presence_penalty for param in params],
            [param.frequency_penalty for param in params],
        )
    )
    values = logits[place]
    values = torch.where(values > 0, values / repetition, values * repetition)
    logits[place] = values - frequency * times - presence * (times > 0)


def _add_biases(logits: torch.Tensor, states: Sequence[SamplingState], rows: list[int]) -> None:
    rows = [row for row in rows if len(states[row].bias_ids)]
    if rows:
        place = _places(logits, rows, [states[row].bias_ids for row in rows])
        values = torch.from_numpy(np.concatenate([states[row].bias_values for row in rows]))
        logits[place] += values.to(logits.device)


def _mask_ends(logits: torch.Tensor, states: Sequence[SamplingState], rows: list[int]) -> None:
    masked = [(row, ids) for row in rows if len(ids := states[row].masked_ids)]
    if masked:
        place = _places(logits, [row for row, _ in masked], [ids for _, ids in masked])
        logits[place] = -torch.inf


def _mask_by_grammar(
    logits: torch.Tensor, states: Sequence[SamplingState], rows: list[int]
) -> None:
    constrained = [(row, each) for row in rows if (each := states[row].constraint) is not None]
    if not constrained:
        return
    bits = fill_masks([each for _, each in constrained]).to(logits.device)  # [rows, words]
    places = torch.arange(32, dtype=torch.int32, device=logits.device)
    forbidden = ((bits[:, :, None] >> places) & 1 == 0).flatten(1)[:, : logits.shape[1]]
    index = torch.tensor([row for row, _ in constrained], device=logits.device)
    logits[index] = logits[index].masked_fill_(forbidden, -torch.inf)


def _places(
    logits: torch.Tensor, rows: list[int], ids: list[NDArray[np.int64]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of each of `ids`, given by row."""
    owners = np.repeat(np.array(rows, np.int64), [len(each) for each in ids])
    columns = np.concatenate(ids)
    return (
        torch.from_numpy(owners).to(logits.device),
        torch.from_numpy(columns).to(logits.device),
    )
