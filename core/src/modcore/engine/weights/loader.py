"""Filling declared weights from a checkpoint, and accounting for every tensor on both sides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

import torch

from modcore.engine.kernels import Kernels, LinearWeight, RowTable
from modcore.engine.weights.base import LayerWeight
from modcore.engine.weights.declaration import Shard, TensorSpec, WeightSpec
from modcore.engine.weights.safetensors_files import FLOATS, SafetensorsFiles
from modcore.errors import CheckpointError

_SHOWN = 5


def resolve_dtype(
    files: SafetensorsFiles, layers: Iterable[LayerWeight], dtype: str
) -> torch.dtype:
    """`dtype`, or for ``auto`` the one that the weights of `layers` are stored in.

    A float16 checkpoint is computed in float32: CPUs have no fast float16, and bfloat16 would
    lose bits.
    """
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    names = {part.name for layer in layers for spec in layer.declare() for part in spec.tensors}
    kinds = {entry.dtype for name, entry in files.tensors.items() if name in names}
    return torch.bfloat16 if kinds == {"BF16"} else torch.float32


def load_weights(
    files: SafetensorsFiles,
    layers: Sequence[LayerWeight],
    dtype: torch.dtype,
    kernels: Kernels,
    ignored: Iterable[str] = (),
    shard: Shard = Shard(),  # noqa: B008  frozen
) -> None:
    """Set every declared attribute of `layers`, reading only what `shard` holds.

    A linear weight is packed by `kernels` as soon as it is read, so that never more than one exists
    in two layouts.
    `ignored` are patterns of tensor names that a checkpoint may hold without being used.
    Raises CheckpointError that names every tensor which is missing, unexpected, wrongly shaped, of
    a wrong dtype or not finite.
    """
    declared = [(layer, list(layer.declare())) for layer in layers]
    _verify(files, [spec for _, specs in declared for spec in specs], ignored)
    for layer, specs in declared:
        for spec in specs:
            value = _read_fused(files, spec.parts, dtype, shard)
            setattr(layer, spec.attribute, _finish(files, layer, spec, value, kernels, shard))


def _finish(
    files: SafetensorsFiles,
    layer: LayerWeight,
    spec: WeightSpec,
    value: torch.Tensor,
    kernels: Kernels,
    shard: Shard,
) -> torch.Tensor | LinearWeight:
    """What an attribute holds: the tensor that was read, or the linear weight that it becomes."""
    other: torch.Tensor | None = getattr(layer, spec.same_as) if spec.same_as else None
    shared = other is not None and torch.equal(other, value)
    if other is not None and shared:
        value = other
    if not spec.linear:
        return value
    bias = _read_fused(files, spec.bias, value.dtype, shard) if spec.bias else None
    linear = layer.make_linear(spec, value, bias, kernels, shared=shared)
    if spec.same_as and shared and isinstance(linear, RowTable):
        setattr(layer, spec.same_as, linear)  # its rows serve both, and the tensor can go
    return linear


def _verify(files: SafetensorsFiles, specs: list[WeightSpec], ignored: Iterable[str]) -> None:
    parts = {part.name: part for spec in specs for part in spec.tensors}
    patterns = [re.compile(pattern) for pattern in ignored]
    spare = [
        name
        for name in files.tensors
        if name not in parts and not any(pattern.search(name) for pattern in patterns)
    ]
    absent = [name for name in parts if name not in files.tensors]
    missing = [name for name in absent if parts[name].default_to not in files.tensors]
    wrong = list(_mismatched(files, parts.values()))
    count = len(missing) + len(spare) + len(wrong)
    if count:
        # Near misses are looked for only where they are shown: among hundreds it takes seconds.
        sentences = [
            *(_missing(files, name, spare) for name in missing[:_SHOWN]),
            *(_unexpected(files, name, absent) for name in spare[:_SHOWN]),
            *wrong[:_SHOWN],
        ]
        raise CheckpointError(_summary(sentences[:_SHOWN], count))


def _summary(sentences: list[str], count: int) -> str:
    if count == 1:
        return sentences[0]
    shown = "\n".join(f"  {sentence}" for sentence in sentences)
    more = f"\n  ... and {count - len(sentences)} more." if count > len(sentences) else ""
    return f"The checkpoint does not fit its config.json in {count} tensors:\n{shown}{more}"


def _missing(files: SafetensorsFiles, name: str, spare: list[str]) -> str:
    return (
        f"Tensor {name} is missing from {files.directory}{_near(name, spare)}; "
        "check that config.json belongs to these weights."
    )


def _unexpected(files: SafetensorsFiles, name: str, absent: list[str]) -> str:
    return (
        f"Tensor {name} in {files.tensors[name].file} is not expected{_near(name, absent)}; "
        "check that config.json belongs to these weights."
    )


def _near(name: str, others: list[str]) -> str:
    close = difflib.get_close_matches(name, others, 1, cutoff=0.8)
    return f" (near: {close[0]})" if close else ""


def _mismatched(files: SafetensorsFiles, parts: Iterable[TensorSpec]) -> Iterator[str]:
    for part in parts:
        entry = files.tensors.get(part.name)
        if entry is None:
            continue
        if entry.shape != part.shape:
            yield (
                f"Tensor {part.name} in {entry.file} has shape {list(entry.shape)} where config.json "
                f"asks for {list(part.shape)}; check that the two belong together."
            )
        elif entry.dtype not in FLOATS:
            yield (
                f"Tensor {part.name} in {entry.file} has dtype {entry.dtype} where floating point is "
                "expected; convert it to bfloat16 or float32."
            )


def _read_fused(
    files: SafetensorsFiles, parts: Sequence[TensorSpec], dtype: torch.dtype, shard: Shard
) -> torch.Tensor:
    """The parts, checked, converted, and fused along their first dimension.

    Each is read to where it belongs in the whole, so that nothing is copied afterwards.
    """
    shapes = [[cut.stop - cut.start for cut in part.slices(shard)] for part in parts]
    fused = torch.empty(sum(shape[0] for shape in shapes), *shapes[0][1:], dtype=dtype)
    places = torch.split(fused, [shape[0] for shape in shapes])
    for part, place in zip(parts, places, strict=True):
        if part.once and shard.rank:
            place.zero_()
            continue
        _read_part(files, part, place, shard)
        if part.interleaved:
            place.copy_(_by_part(place, part.interleaved))
    return fused


def _by_part(tensor: torch.Tensor, interleaved: Sequence[int]) -> torch.Tensor:
    """The rows of groups, each with some of every part, sorted: the first part's, then the second's."""
    groups = tensor.reshape(-1, sum(interleaved), *tensor.shape[1:])  # [groups, rows of one, ...]
    by_part = groups.split_with_sizes(tuple(interleaved), dim=1)
    return torch.cat([rows.flatten(0, 1) for rows in by_part])


def _read_part(
    files: SafetensorsFiles, part: TensorSpec, place: torch.Tensor, shard: Shard
) -> None:
    """Read `part` to `place`, in its dtype."""
    name = part.name if part.name in files.tensors else part.default_to
    assert name is not None
    file = files.tensors[name].file
    stored = files.read(name, part.slices(shard), place)
    if not _is_finite(stored):
        raise CheckpointError(
            f"Tensor {name} in {file} holds values that are not finite "
            "(NaN or infinity); the checkpoint is damaged, fetch or train it again."
        )
    if stored is place:
        return
    place.copy_(stored)
    if place.dtype != stored.dtype and not _is_finite(place):
        raise CheckpointError(
            f"Tensor {name} in {file} holds values that do not fit into {place.dtype}; convert it again with smaller ones."
        )


def _is_finite(tensor: torch.Tensor) -> bool:
    # The sum of finite numbers may overflow; only then is every element looked at.
    return bool(torch.isfinite(tensor.sum()) or torch.isfinite(tensor).all())
