"""From requests to the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.request import Request
from modcore.engine.state import InferStateInfo


def prefill_batch(
    requests: Sequence[Request],
    state_class: type[InferStateInfo],
    memory: MemoryManager,
    table: RequestTable,
) -> tuple[torch.Tensor, InferStateInfo]:
    """The prompts of `requests`, one behind the other, and the state that goes with them."""
    ids = [token for request in requests for token in request.prompt_ids]
    counts = [len(request.prompt_ids) for request in requests]
    state = _state(state_class, requests, counts, counts, memory, table, is_prefill=True)
    return torch.tensor(ids, device=table.rows.device), state


def decode_batch(
    requests: Sequence[Request],
    state_class: type[InferStateInfo],
    memory: MemoryManager,
    table: RequestTable,
) -> tuple[torch.Tensor, InferStateInfo]:
    """The newest token of each of `requests`, and the state that goes with them."""
    ids = [request.output_ids[-1] for request in requests]
    lengths = [request.length for request in requests]
    ones = [1] * len(requests)
    state = _state(state_class, requests, lengths, ones, memory, table, is_prefill=False)
    return torch.tensor(ids, device=table.rows.device), state


def _state(
    state_class: type[InferStateInfo],
    requests: Sequence[Request],
    lengths: list[int],
    new_tokens: list[int],
    memory: MemoryManager,
    table: RequestTable,
    *,
    is_prefill: bool,
) -> InferStateInfo:
    device = table.rows.device
    longest = max(lengths)
    lines = torch.tensor([request.line for request in requests], device=device)
    b_seq_len = torch.tensor(lengths, device=device)
    counts = torch.tensor(new_tokens, device=device)
    b_start_loc = counts.cumsum(0) - counts
    b_loc = table.rows[lines, :longest]
    # Request r's new tokens stand at positions length - new ... length - 1 of its own text.
    owner = torch.repeat_interleave(torch.arange(len(requests), device=device), counts)  # [T]
    offset = torch.arange(sum(new_tokens), device=device) - b_start_loc[owner]
    position_ids = (b_seq_len - counts)[owner] + offset
    return state_class(
        is_prefill=is_prefill,
        batch_size=len(requests),
        total_token_num=sum(new_tokens),
        max_len_in_batch=longest,
        new_tokens=new_tokens,
        b_seq_len=b_seq_len,
        b_start_loc=b_start_loc,
        b_loc=b_loc,
        mem_index=b_loc[owner, position_ids],
        position_ids=position_ids,
        mem_manager=memory,
    )
