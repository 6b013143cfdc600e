"""What a linear weight offers, whatever it is stored as."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch


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
