"""The reference attention is the formula, written out, whatever the masks; decode equals prefill."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modcore.engine.kernels.reference import TorchKernels
from modcore.engine.memory import MemoryManager
from modcore.engine.state import InferStateInfo

CPU = torch.device("cpu")
HEADS, KV_HEADS, HEAD_DIM = 6, 2, 5
SCALE = 0.3


def batch_of(lengths: list[int], new: list[int]) -> tuple[InferStateInfo, MemoryManager]:
    """Requests of `lengths` tokens, the last `new` of each computed now, in shuffled rows."""
    memory = MemoryManager(sum(lengths), 1, KV_HEADS, HEAD_DIM, torch.float32, CPU)
    rows = torch.randperm(sum(lengths)) + 1
    b_loc = torch.full((len(lengths), max(lengths)), 1)  # beyond a request: some other's row
    for request, own in enumerate(rows.split(lengths)):
        b_loc[request, : len(own)] = own
    memory.keys[0], memory.values[0] = (
        torch.randn_like(memory.keys[0]),
        torch.randn_like(memory.values[0]),
    )
    counts = torch.tensor(new)
    nothing = torch.empty(0, dtype=torch.int64)
    state = InferStateInfo(
        is_prefill=True,
        batch_size=len(lengths),
        total_token_num=sum(new),
        max_len_in_batch=max(lengths),
        new_tokens=new,
        b_seq_len=torch.tensor(lengths),
        b_start_loc=counts.cumsum(0) - counts,
        b_loc=b_loc,
        mem_index=nothing,
        position_ids=nothing,
        mem_manager=memory,
    )
    return state, memory


def written_out(
    q: torch.Tensor,
    state: InferStateInfo,
    memory: MemoryManager,
    window: int | None,
    slopes: torch.Tensor | None,
) -> torch.Tensor:
    """Token by token and head by head, as the papers have it."""
    out = torch.empty_like(q)
    token = 0
    for request, count in enumerate(state.new_tokens):
        length = int(state.b_seq_len[request])
        for position in range(length - count, length):
            first = 0 if window is None else max(0, position - window + 1)
            rows = state.b_loc[request, first : position + 1]
            distance = position - torch.arange(first, position + 1)
            for head in range(HEADS):
                kv_head = head * KV_HEADS // HEADS
                scores = memory.keys[0][rows, kv_head] @ q[token, head] * SCALE
                if slopes is not None:
                    scores = scores - slopes[head] * distance
                out[token, head] = scores.softmax(0) @ memory.values[0][rows, kv_head]
            token += 1
    return out


@settings(deadline=None, max_examples=30)
@given(
    requests=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=4),
    window=st.sampled_from([None, 1, 3, 50]),
    alibi=st.booleans(),
    seed=st.integers(0, 99),
)
def test_context_attention_is_the_formula(
    requests: list[tuple[int, int]], window: int | None, alibi: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    new = [count for _, count in requests]
    state, memory = batch_of([cached + count for cached, count in requests], new)
    slopes = torch.rand(HEADS) if alibi else None
    q = torch.randn(sum(new), HEADS, HEAD_DIM)
    out = TorchKernels().context_attention(
        q, memory.keys[0], memory.values[0], state, SCALE, window, slopes
    )
    torch.testing.assert_close(out, written_out(q, state, memory, window, slopes))


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    window=st.sampled_from([None, 1, 3, 50]),
    alibi=st.booleans(),
    seed=st.integers(0, 99),
)
def test_token_attention_is_the_formula(
    lengths: list[int], window: int | None, alibi: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    state, memory = batch_of(lengths, [1] * len(lengths))
    slopes = torch.rand(HEADS) if alibi else None
    q = torch.randn(len(lengths), HEADS, HEAD_DIM)
    out = TorchKernels().token_attention(
        q, memory.keys[0], memory.values[0], state, SCALE, window, slopes
    )
    torch.testing.assert_close(out, written_out(q, state, memory, window, slopes))


@pytest.mark.parametrize(("cached", "new"), [(0, 127), (0, 128), (0, 129), (5, 300), (300, 1)])
def test_alibi_over_more_queries_than_one_block_is_the_formula(cached: int, new: int) -> None:
    torch.manual_seed(0)
    state, memory = batch_of([cached + new], [new])
    slopes = torch.rand(HEADS) / 10
    q = torch.randn(new, HEADS, HEAD_DIM)
    out = TorchKernels().context_attention(
        q, memory.keys[0], memory.values[0], state, SCALE, None, slopes
    )
    torch.testing.assert_close(out, written_out(q, state, memory, None, slopes))


def test_layer_norm_is_the_formula() -> None:
    x, weight, bias = torch.randn(3, 8), torch.randn(8), torch.randn(8)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 0.1) * weight + bias
    torch.testing.assert_close(TorchKernels().layer_norm(x, weight, bias, 0.1), expected)


def test_gelu_by_name_is_the_formula() -> None:
    x = torch.linspace(-4, 4, 33)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    expected = 0.5 * x * (1 + torch.tanh(inner))
    torch.testing.assert_close(TorchKernels().activation(x, "gelu_pytorch_tanh"), expected)
