"""What a linear weight offers, whatever it is stored as."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch.nn import functional

_Call = TypeVar("_Call", bound=Callable[..., torch.Tensor])


class LinearWeight(Protocol):
    """A matrix ``[out, in]`` with its bias."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(out, in)``."""
        ...

    @property
    def nbytes(self) -> int:
        """The bytes that it takes, with scales and bias; 0 where the matrix is held by another."""
        ...

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """`x` ``[T, in]`` times the matrix transposed, plus the bias -> ``[T, out]``, in x's dtype."""
        ...


@runtime_checkable
class RowTable(Protocol):
    """A matrix whose rows can be had one by one: what an embedding is, when it is no tensor."""

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows `ids` ``[T]`` -> ``[T, in]``."""
        ...


def bias_bytes(bias: torch.Tensor | None) -> int:
    """The bytes of a bias that may be absent."""
    return 0 if bias is None else bias.nbytes


def few_shapes(call: _Call) -> _Call:
    """`call` with rows of zeros below `x`, so that few numbers of rows are met.

    oneDNN compiles for each, and keeps a third of a megabyte of it a matrix's shape.
    """

    @functools.wraps(call)
    def padded(self: LinearWeight, x: torch.Tensor) -> torch.Tensor:
        rows = len(x)
        wanted = rounded_rows(rows)
        if wanted == rows:
            return call(self, x)
        return call(self, functional.pad(x, (0, 0, 0, wanted - rows)))[:rows]

    return cast(_Call, padded)


def rounded_rows(rows: int) -> int:
    """`rows`, or the next of eight numbers between two powers of two: an eighth more at most."""
    step = 1 << max(rows.bit_length() - 4, 0)
    return -(-rows // step) * step
