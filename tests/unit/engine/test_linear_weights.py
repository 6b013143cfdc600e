"""Every layout of a linear weight multiplies as the matrix that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from modcore.engine.kernels.cpu import CpuKernels
from modcore.engine.kernels.huge_pages import HugePages
from modcore.engine.kernels.linear import PlainLinear, RowTable
from modcore.engine.kernels.linear.base import rounded_rows
from modcore.engine.kernels.linear.int4 import Int4Linear, _Scratch
from modcore.engine.kernels.linear.int8 import Int8Linear, Int8WeightOnlyLinear
from modcore.engine.kernels.linear.packed import PackedLinear, packed_range
from modcore.engine.kernels.linear.quantise import row_blocks, to_int4, to_int8
from modcore.engine.kernels.reference import TorchKernels
from modcore.errors import InvalidRequest

TOKENS = (1, 2, 8, 33, 300)
SHAPES = ((64, 32), (192, 96), (1088, 256), (33, 31), (7, 5), (100, 97))
FORMATS = ("exact", "int8", "int4")


def drawn(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The distance in relation to what is expected."""
    return ((got.float() - expected.float()).norm() / expected.float().norm()).item()


def dequantised_int4(weight: torch.Tensor, group: int = 32) -> torch.Tensor:
    blocks = []
    for _, codes, scale, zero in to_int4(weight, group):
        wide = scale.float().repeat_interleave(group, 1), zero.float().repeat_interleave(group, 1)
        blocks.append((codes - 8) * wide[0] + wide[1])
    return torch.cat(blocks)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("linear_format", FORMATS)
def test_every_format_is_close_to_the_exact_product(
    linear_format: str, shape: tuple[int, int], tokens: int, dtype: torch.dtype, with_bias: bool
) -> None:
    weight, x = drawn(*shape, dtype=dtype), drawn(tokens, shape[1], dtype=dtype)
    bias = drawn(shape[0], dtype=dtype) if with_bias else None
    made = CpuKernels().pack_linear(weight, bias, linear_format)
    got = made(x)
    wide_bias = None if bias is None else bias.double()
    expected = functional.linear(x.double(), weight.double(), wide_bias)
    exact = 1e-6 if dtype == torch.float32 else 0.005
    assert made.shape == shape
    assert got.shape == (tokens, shape[0])
    assert got.dtype == dtype
    assert error(got, expected) < {"exact": exact, "int8": 0.02, "int4": 0.12}[linear_format]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_in_rows_are_close_to_the_exact_product(
    shape: tuple[int, int], tokens: int, dtype: torch.dtype
) -> None:
    weight, x = drawn(*shape, dtype=dtype), drawn(tokens, shape[1], dtype=dtype)
    made = CpuKernels().pack_linear(weight, None, "int8", shared=True)
    assert isinstance(made, Int8WeightOnlyLinear)
    assert error(made(x), functional.linear(x.double(), weight.double())) < 0.02


@pytest.mark.parametrize("tokens", TOKENS)
def test_packed_equals_plain(tokens: int) -> None:
    weight, x = drawn(192, 96, dtype=torch.float32), drawn(tokens, 96, dtype=torch.float32)
    assert error(PackedLinear(weight)(x), PlainLinear(weight)(x)) < 1e-6


@pytest.mark.parametrize("tokens", TOKENS)
def test_int8_equals_its_rounded_operands(tokens: int) -> None:
    weight, x = drawn(1088, 256, dtype=torch.float32), drawn(tokens, 256, dtype=torch.float32)
    rounded, scales = to_int8(weight)
    token_scale = x.abs().amax(1, keepdim=True) / 127
    rounded_x = (x / token_scale + 0.5).floor() * token_scale
    expected = rounded_x.double() @ (rounded * scales[:, None]).double().t()
    assert error(Int8Linear(weight)(x), expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", TOKENS)
def test_int8_weight_only_equals_its_rounded_weight(tokens: int, dtype: torch.dtype) -> None:
    weight, x = drawn(1088, 256, dtype=dtype), drawn(tokens, 256, dtype=dtype)
    rounded, scales = to_int8(weight)
    expected = x.double() @ (rounded * scales.to(dtype).double()[:, None]).t()
    tolerance = 1e-6 if dtype == torch.float32 else 0.006
    assert error(Int8WeightOnlyLinear(weight)(x), expected) < tolerance


@pytest.mark.parametrize("tokens", TOKENS)
def test_int4_equals_its_rounded_weight(tokens: int) -> None:
    weight, x = drawn(1088, 256, dtype=torch.bfloat16), drawn(tokens, 256, dtype=torch.bfloat16)
    expected = x.float() @ dequantised_int4(weight).t()
    assert error(Int4Linear(weight)(x), expected) < 0.006


def test_int4_turned_back_is_the_rounded_weight() -> None:
    weight = drawn(1088, 256, dtype=torch.bfloat16)
    made = Int4Linear(weight)
    scratch = _Scratch(256)
    blocks = [made.unpacked(rows, scratch).clone() for rows in row_blocks(1088)]
    assert error(torch.cat(blocks), dequantised_int4(weight)) < 0.005


def test_a_weight_of_equal_values_survives_rounding() -> None:
    for value in (0.0, 1.5, -3.0):
        weight = torch.full((64, 64), value, dtype=torch.bfloat16)
        x = drawn(2, 64, dtype=torch.bfloat16)
        expected = functional.linear(x.float(), weight.float())
        for made in (Int8Linear(weight), Int8WeightOnlyLinear(weight), Int4Linear(weight)):
            assert torch.allclose(made(x).float(), expected, rtol=0.02, atol=0.2)


@pytest.mark.parametrize("tokens", [1, 3])
def test_int8_keeps_values_that_are_not_finite_and_tokens_of_zeros(tokens: int) -> None:
    made = Int8Linear(drawn(64, 32, dtype=torch.float32))
    x = torch.zeros(tokens, 32)
    assert torch.equal(made(x), torch.zeros(tokens, 64))
    x[0, 3] = torch.nan
    assert made(x)[0].isnan().all()


@pytest.mark.parametrize(("linear_format", "most"), [("int8", 0.52), ("int4", 0.33)])
def test_what_a_format_saves(linear_format: str, most: float) -> None:
    weight = drawn(1024, 512, dtype=torch.bfloat16)
    exact = CpuKernels().pack_linear(weight)
    assert exact.nbytes == weight.nbytes
    assert CpuKernels().pack_linear(weight, None, linear_format).nbytes < most * exact.nbytes


def test_a_shared_matrix_is_not_copied_unless_it_is_rounded() -> None:
    weight = drawn(256, 64, dtype=torch.bfloat16)
    made = CpuKernels().pack_linear(weight, shared=True)
    assert isinstance(made, PlainLinear)
    assert made.weight is weight
    assert made.nbytes == 0


@pytest.mark.parametrize("linear_format", ["int8", "int4"])
def test_a_rounded_shared_matrix_serves_as_the_embedding_too(linear_format: str) -> None:
    weight, ids = drawn(256, 64, dtype=torch.bfloat16), torch.tensor([3, 255, 3])
    made = CpuKernels().pack_linear(weight, None, linear_format, shared=True)
    assert isinstance(made, RowTable)
    rows = CpuKernels().embedding(ids, made)
    assert rows.dtype == torch.bfloat16
    assert error(rows, weight[ids]) < 0.02


@pytest.mark.parametrize("kernels", [TorchKernels, CpuKernels])
def test_a_format_that_nobody_has_is_refused(kernels: Callable[[], TorchKernels]) -> None:
    with pytest.raises(InvalidRequest, match="no int3 weights"):
        kernels().pack_linear(torch.ones(2, 2), None, "int3")


def test_weights_get_huge_pages_where_the_machine_has_them() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.is_file() or "[never]" in setting.read_text():
        pytest.skip("this machine has no huge pages to give")
    made = PackedLinear(drawn(4096, 4096, dtype=torch.bfloat16))
    pages = HugePages()
    before = huge_bytes()
    pages.request(made)
    pages.wait()
    assert huge_bytes() - before > 0.5 * packed_range(made.weight)[1]


def huge_bytes() -> int:
    lines = Path("/proc/self/smaps").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("AnonHuge"))


def test_many_numbers_of_rows_are_few_shapes_to_the_library_below() -> None:
    shapes = {rounded_rows(rows) for rows in range(1, 2049)}
    assert len(shapes) < 80
    assert all(rows <= rounded_rows(rows) <= rows * 9 / 8 for rows in range(1, 2049))


@pytest.mark.parametrize("linear_format", ["exact", "int8", "int4"])
def test_a_product_of_any_number_of_rows_has_that_many(linear_format: str) -> None:
    linear = CpuKernels().pack_linear(torch.randn(128, 64).bfloat16(), None, linear_format)
    x = torch.randn(130, 64).bfloat16()
    whole = linear(x)
    assert whole.shape == (130, 128)
    torch.testing.assert_close(linear(x[:117]), whole[:117], rtol=2e-2, atol=1e-1)
