"""From requests to the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.request import Request
from modcore.engine.state import InferStateInfo


def make_batch(
    requests: Sequence[Request],
    state_class: type[InferStateInfo],
    memory: MemoryManager,
    table: RequestTable,
    *,
    is_prefill: bool,
) -> tuple[torch.Tensor, InferStateInfo]:
    """The ids of all tokens that have a row without content yet, and the state that goes with them."""
    device = table.rows.device
    new_tokens = [request.rows_held - request.rows_filled for request in requests]
    ids = [
        token
        for request in requests
        for token in request.tokens[request.rows_filled : request.rows_held]
    ]
    lengths = [request.rows_held for request in requests]
    lines = torch.tensor([request.line for request in requests], device=device)
    b_seq_len = torch.tensor(lengths, device=device)
    counts = torch.tensor(new_tokens, device=device)
    b_start_loc = counts.cumsum(0) - counts
    b_loc = table.rows[lines, : max(lengths)]
    # Request r's new tokens stand at positions length - new ... length - 1 of its own text.
    owner = torch.repeat_interleave(torch.arange(len(requests), device=device), counts)  # [T]
    offset = torch.arange(len(ids), device=device) - b_start_loc[owner]
    position_ids = (b_seq_len - counts)[owner] + offset
    state = state_class(
        is_prefill=is_prefill,
        batch_size=len(requests),
        total_token_num=len(ids),
        max_len_in_batch=max(lengths),
        new_tokens=new_tokens,
        b_seq_len=b_seq_len,
        b_start_loc=b_start_loc,
        b_loc=b_loc,
        mem_index=b_loc[owner, position_ids],
        position_ids=position_ids,
        mem_manager=memory,
    )
    return torch.tensor(ids, device=device), state
