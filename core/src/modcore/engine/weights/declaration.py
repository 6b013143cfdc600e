"""How a model declares its weights: names, shapes, fusing, and how ranks share them."""

from __future__ import annotations

from dataclasses import dataclass

from modcore.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a split tensor this rank holds."""

    rank: int = 0
    world_size: int = 1

    def span(self, size: int, what: str) -> slice:
        """The rows of `size` that are this rank's; raises CheckpointError when they do not divide evenly."""
        if size % self.world_size:
            raise CheckpointError(
                f"{what} has {size} rows to split, which {self.world_size} ranks cannot share evenly; "
                "choose another number of ranks."
            )
        rows = size // self.world_size
        return slice(self.rank * rows, (self.rank + 1) * rows)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of the checkpoint.

    `split` is the dimension that tensor parallel ranks share (None: every rank holds all of it).
    With `default_to`, the tensor may be absent, and the one of that name stands in for it.

    interleaved: for a tensor whose first dimension holds several parts by turns, group by group, how
        many rows of each part a group has (Bloom's q, k and v: ``head_dim`` each). The loader sorts
        the rows: all of the first part, then all of the second; ranks share whole groups.
    once: a bias that is added to what the ranks then sum up: the first rank holds it, the others
        hold zeros.
    """

    name: str
    shape: tuple[int, ...]
    split: int | None = None
    default_to: str | None = None
    interleaved: tuple[int, ...] = ()
    once: bool = False

    def slices(self, shard: Shard) -> tuple[slice, ...]:
        """What `shard` reads of the tensor."""
        return tuple(
            self._span(dim, size, shard) if dim == self.split else slice(0, size)
            for dim, size in enumerate(self.shape)
        )

    def _span(self, dim: int, size: int, shard: Shard) -> slice:
        group = sum(self.interleaved) if self.interleaved and dim == 0 else 1
        groups = shard.span(size // group, self.name)
        return slice(groups.start * group, groups.stop * group)


@dataclass(frozen=True, slots=True)
class WeightSpec:
    """One attribute of a layer weight, made of `parts` that are fused along their first dimension.

    With `linear`, the attribute is a `LinearWeight`: the fused matrix ``[out, in]``, and as its bias
    the fused `bias` parts where there are any. `same_as` names an earlier attribute, a tensor: when
    both hold the same values, as a tied head and the embedding do, they share it.
    """

    attribute: str
    parts: tuple[TensorSpec, ...]
    linear: bool = False
    bias: tuple[TensorSpec, ...] = ()
    same_as: str | None = None

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """All tensors of the checkpoint that it is made of."""
        return (*self.parts, *self.bias)
