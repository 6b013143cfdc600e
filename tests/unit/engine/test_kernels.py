"""Every kernel is its formula, written out: the reference, and what is compiled for the processor."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modcore.engine.kernels import Kernels, select_kernels
from modcore.engine.kernels.cpu import CpuKernels
from modcore.engine.kernels.native.compile import CompilationFailed, load_library
from modcore.engine.kernels.native.kernels import NativeKernels
from modcore.engine.kernels.reference import TorchKernels
from modcore.engine.memory import MemoryManager
from modcore.engine.state import InferStateInfo
from modcore.errors import InvalidRequest, ModcoreError

CPU = torch.device("cpu")
HEADS, KV_HEADS, HEAD_DIM = 6, 2, 5
SCALE = 0.3


NAMES = ["reference", "native"]


def kernels_called(name: str, dtype: torch.dtype = torch.float32) -> Kernels:
    if name == "reference":
        return TorchKernels()
    try:
        return NativeKernels(dtype)
    except CompilationFailed as error:
        pytest.skip(f"no native kernels here: {error}")


def batch_of(
    lengths: list[int], new: list[int], decode: int = 0
) -> tuple[InferStateInfo, MemoryManager]:
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
        batch_size=len(lengths),
        decode_size=decode,
        total_token_num=sum(new),
        max_len_in_batch=max(lengths),
        new_tokens=new,
        b_seq_len=torch.tensor(lengths),
        b_start_loc=counts.cumsum(0) - counts,
        b_loc=b_loc,
        mem_index=nothing,
        position_ids=nothing,
        logit_index=nothing,
        mem_manager=memory,
    )
    return state, memory


def written_out(
    q: torch.Tensor,
    state: InferStateInfo,
    memory: MemoryManager,
    window: int | None,
    slopes: torch.Tensor | None,
    scale: float = SCALE,
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
                scores = memory.keys[0][rows, kv_head] @ q[token, head] * scale
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


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    window=st.sampled_from([None, 1, 3, 50]),
    alibi=st.booleans(),
    seed=st.integers(0, 99),
)
def test_token_attention_is_the_formula(
    name: str, lengths: list[int], window: int | None, alibi: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    state, memory = batch_of(lengths, [1] * len(lengths), len(lengths))
    slopes = torch.rand(HEADS) if alibi else None
    q = torch.randn(len(lengths), HEADS, HEAD_DIM)
    out = kernels_called(name).token_attention(
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


# What is compiled, beside the reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_native_kernels_are_the_reference(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(rows)
    native, plain = kernels_called("native", dtype), TorchKernels()
    close = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {}
    x, weight = torch.randn(rows, 96).to(dtype), torch.randn(96).to(dtype)
    torch.testing.assert_close(
        native.rms_norm(x, weight, 1e-5), plain.rms_norm(x, weight, 1e-5), **close
    )
    torch.testing.assert_close(
        native.gated_activation(x, "silu"), plain.gated_activation(x, "silu"), **close
    )
    torch.testing.assert_close(
        native.gated_activation(x, "gelu"), plain.gated_activation(x, "gelu"), **close
    )
    fused = torch.randn(rows, 9, 10).to(dtype)
    cos, sin = torch.randn(rows, 5), torch.randn(rows, 5)
    for part in (fused, fused[:, :4], fused[:, 6:]):
        torch.testing.assert_close(
            native.rotary(part, cos, sin), plain.rotary(part, cos, sin), **close
        )
    index = torch.randperm(100)[:rows]
    ours, theirs = torch.zeros(100, 3, 10, dtype=dtype), torch.zeros(100, 3, 10, dtype=dtype)
    native.store(ours, fused[:, 6:], index)
    plain.store(theirs, fused[:, 6:], index)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("head_dim", [5, 16, 40, 64, 80, 128])
def test_native_attention_in_bfloat16_over_many_keys(head_dim: int) -> None:
    torch.manual_seed(head_dim)
    lengths = [1, 127, 128, 129, 700]
    state, _ = batch_of(lengths, [1] * 5, 5)
    keys, values = (torch.randn(sum(lengths) + 1, 2, head_dim).bfloat16() for _ in range(2))
    q = torch.randn(5, 6, head_dim).bfloat16()
    native = kernels_called("native", torch.bfloat16)
    out = native.token_attention(q, keys, values, state, head_dim**-0.5, None)
    expected = TorchKernels().token_attention(
        q.float(), keys.float(), values.float(), state, head_dim**-0.5, None
    )
    torch.testing.assert_close(out.float(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("head_dim", [2, 16, 40, 64, 80, 128, 256])
@pytest.mark.parametrize(
    ("window", "alibi"), [(None, False), (7, False), (100, True), (None, True)]
)
@pytest.mark.parametrize("heads", [2, 6, 14])
def test_native_prefill_in_bfloat16_is_the_formula(
    head_dim: int, window: int | None, alibi: bool, heads: int
) -> None:
    torch.manual_seed(head_dim)
    new = [1, 1, 3, 64, 65, 130]
    lengths = [4, 1, 3, 70, 200, 131]
    state, _ = batch_of(lengths, new, 2)
    keys, values = (torch.randn(sum(lengths) + 1, 2, head_dim).bfloat16() for _ in range(2))
    q = torch.randn(sum(new) - 2, heads, head_dim).bfloat16()
    slopes = torch.rand(heads) / 10 if alibi else None
    scale = head_dim**-0.5
    native = kernels_called("native", torch.bfloat16)
    out = native.context_attention(q, keys, values, state, scale, window, slopes)
    expected = TorchKernels().context_attention(
        q.float(), keys.float(), values.float(), state, scale, window, slopes
    )
    torch.testing.assert_close(out.float(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("tokens", "dim"), [(1, 8), (17, 12), (64, 64), (401, 64), (770, 72), (65, 130)]
)
def test_full_attention_is_the_formula(
    name: str, dtype: torch.dtype, tokens: int, dim: int
) -> None:
    fused = torch.randn(2, tokens, 3, 5, dim).to(dtype)  # as a product of all three leaves them
    q, k, v = fused.unbind(2)
    out = kernels_called(name, dtype).full_attention(q, k.contiguous(), v, SCALE)
    weights = (torch.einsum("bqhd,bkhd->bhqk", q.double(), k.double()) * SCALE).softmax(-1)
    expected = torch.einsum("bhqk,bkhd->bqhd", weights, v.double())
    atol = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(out.double(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_attention_shows_what_is_not_finite(dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(1, 70, 2, 64).to(dtype) for _ in range(3))
    k[0, 66, 1, 3] = float("nan")
    out = kernels_called("native", dtype).full_attention(q, k, v, SCALE)
    assert out[:, :, 0].isfinite().all()
    assert out[:, :, 1].isnan().all()


def test_native_attention_shows_what_is_not_finite() -> None:
    state, memory = batch_of([4, 4], [1, 1], 2)
    memory.keys[0][state.b_loc[0, 1]] = float("nan")
    native = kernels_called("native")
    out = native.token_attention(
        torch.randn(2, 6, 5), memory.keys[0], memory.values[0], state, 1.0, None
    )
    assert out[0].isnan().any()
    assert out[1].isfinite().all()


def test_native_prefill_shows_what_is_not_finite() -> None:
    state, _ = batch_of([8, 8], [4, 4])
    keys, values = torch.randn(17, 2, 16).bfloat16(), torch.randn(17, 2, 16).bfloat16()
    keys[state.b_loc[0, 1]] = float("nan")
    native = kernels_called("native", torch.bfloat16)
    out = native.context_attention(
        torch.randn(8, 6, 16).bfloat16(), keys, values, state, 0.25, None
    )
    assert out[:4].isnan().all()
    assert out[4:].isfinite().all()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 31, 48, 49])
@pytest.mark.parametrize("has_bias", [False, True])
def test_streamed_linear_is_the_packed_one(rows: int, has_bias: bool) -> None:
    torch.manual_seed(rows)
    native = kernels_called("native", torch.bfloat16)
    weight = torch.randn(192, 128).bfloat16()
    bias = torch.randn(192).bfloat16() if has_bias else None
    linear = native.pack_linear(weight, bias)
    x = torch.randn(rows, 128).bfloat16()
    expected = torch.nn.functional.linear(
        x.float(), weight.float(), bias.float() if has_bias else None
    )
    torch.testing.assert_close(linear(x).float(), expected, rtol=2e-2, atol=2e-1)
    # A view with other strides is the same rows.
    wide = torch.randn(rows, 256).bfloat16()
    torch.testing.assert_close(linear(wide[:, :128]), linear(wide[:, :128].contiguous()))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 63, 64])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("linear_format", ["int8", "int4"])
def test_streamed_quantised_weights_are_what_their_numbers_say(
    rows: int, has_bias: bool, linear_format: str
) -> None:
    torch.manual_seed(rows)
    native = kernels_called("native", torch.bfloat16)
    weight = torch.randn(192, 128).bfloat16()
    bias = torch.randn(192).bfloat16() if has_bias else None
    plain = CpuKernels().pack_linear(weight, bias, linear_format)
    x = torch.randn(rows, 128).bfloat16()
    ours = native.pack_linear(weight, bias, linear_format)
    expected = plain(x).float()
    assert (ours(x) - expected).norm() < 0.01 * expected.norm()  # x is rounded to 8 bits
    assert ours.nbytes == plain.nbytes


@pytest.mark.parametrize("spoil", [float("nan"), float("inf")])
@pytest.mark.parametrize("linear_format", ["exact", "int8", "int4"])
def test_streamed_products_show_what_is_not_finite(linear_format: str, spoil: float) -> None:
    native = kernels_called("native", torch.bfloat16)
    linear = native.pack_linear(torch.randn(128, 128).bfloat16(), None, linear_format)
    x = torch.randn(2, 128).bfloat16()
    x[0, 5] = spoil
    out = linear(x)
    assert not out[0].isfinite().all()
    assert out[1].isfinite().all()


@pytest.mark.parametrize("shape", [(100, 128), (192, 100), (64, 64)])
def test_other_shapes_are_multiplied_all_the_same(shape: tuple[int, int]) -> None:
    native = kernels_called("native", torch.bfloat16)
    weight, x = torch.randn(shape).bfloat16(), torch.randn(3, shape[1]).bfloat16()
    expected = torch.nn.functional.linear(x.float(), weight.float())
    torch.testing.assert_close(
        native.pack_linear(weight)(x).float(), expected, rtol=2e-2, atol=2e-1
    )


def test_exponential_is_exact_to_a_few_bits() -> None:
    native, x = kernels_called("native"), torch.linspace(-20, 20, 4001)
    gate_up = torch.stack([x, torch.ones_like(x)], dim=1)
    expected = torch.nn.functional.silu(x.double())
    got = native.gated_activation(gate_up, "silu")[:, 0].double()
    assert ((got - expected) / expected.abs().clamp_min(1e-30)).abs().max() < 1e-6


def test_home_that_does_not_exist_means_no_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    load_library.cache_clear()
    assert type(select_kernels(CPU, torch.float32)) is CpuKernels
    load_library.cache_clear()


def test_native_softmax_of_huge_scores_does_not_overflow() -> None:
    state, memory = batch_of([9], [1], 1)
    q = torch.full((1, 6, 5), 1e4)
    memory.keys[0][:] *= 1e4
    out = kernels_called("native").token_attention(
        q, memory.keys[0], memory.values[0], state, 1.0, None
    )
    torch.testing.assert_close(out, written_out(q, state, memory, None, None, scale=1.0))


# How they are chosen


def test_machine_without_a_compiler_runs_what_pytorch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    load_library.cache_clear()
    assert type(select_kernels(CPU, torch.float32)) is CpuKernels
    monkeypatch.setenv("MODCORE_KERNELS", "native")
    with pytest.raises(ModcoreError, match=r"no C\+\+ compiler"):
        select_kernels(CPU, torch.float32)
    load_library.cache_clear()


def test_cache_that_others_can_write_is_not_loaded_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory = tmp_path / "modcore" / "kernels"
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_library.cache_clear()
    with pytest.raises(CompilationFailed, match=r"others|compiler"):
        load_library()
    load_library.cache_clear()


def test_compiler_that_fails_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'it broke' >&2\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_library.cache_clear()
    with pytest.raises(CompilationFailed, match="it broke"):
        load_library()
    assert list((tmp_path / "modcore" / "kernels").iterdir()) == []
    load_library.cache_clear()


def test_unknown_choice_of_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODCORE_KERNELS", "fast")
    with pytest.raises(InvalidRequest, match="auto, native, reference"):
        select_kernels(CPU, torch.float32)
