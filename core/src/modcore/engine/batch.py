"""From requests to the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modcore.engine.features import PlacedFeatures, features_between
from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.request import Request
from modcore.engine.state import InferStateInfo


def make_batch(
    requests: Sequence[Request],
    state_class: type[InferStateInfo],
    memory: MemoryManager,
    table: RequestTable,
    decode_size: int,
) -> tuple[torch.Tensor, InferStateInfo]:
    """The ids of all tokens that have a row without content yet, and the state that goes with them.

    The first `decode_size` of `requests` have one new token each.
    """
    lengths = [request.rows_held for request in requests]
    starts = [request.rows_filled for request in requests]
    ids: list[int] = []
    for request in requests:
        ids += request.tokens[request.rows_filled : request.rows_held]
    b_seq_len = torch.tensor(lengths)
    counts = b_seq_len - torch.tensor(starts)
    b_start_loc = counts.cumsum(0) - counts
    b_loc = table.rows[torch.tensor([request.line for request in requests]), : max(lengths)]
    if len(ids) == len(requests):  # a decode step
        owner, position_ids = torch.arange(len(ids)), b_seq_len - 1
    else:
        # Request r's new tokens stand at positions start_r ... length_r - 1 of its own text.
        owner = torch.repeat_interleave(torch.arange(len(requests)), counts)  # [T]
        offset = torch.arange(len(ids)) - b_start_loc[owner]
        position_ids = torch.tensor(starts)[owner] + offset
    features = [
        PlacedFeatures(base + place, rows)
        for request, base in zip(requests, b_start_loc.tolist(), strict=True)
        if request.spans
        for place, rows in features_between(request.spans, request.rows_filled, request.rows_held)
    ]
    device = memory.keys.device
    state = state_class(
        batch_size=len(requests),
        decode_size=decode_size,
        total_token_num=len(ids),
        max_len_in_batch=max(lengths),
        new_tokens=counts.tolist(),
        b_seq_len=b_seq_len.to(device),
        b_start_loc=b_start_loc.to(device),
        b_loc=b_loc.to(device),
        mem_index=b_loc[owner, position_ids].to(device),
        position_ids=position_ids.to(device),
        logit_index=(b_start_loc + counts - 1).to(device),
        mem_manager=memory,
        features=features,
    )
    return torch.tensor(ids, device=device), state
