"""Filling declared weights from a checkpoint, and accounting for every tensor on both sides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

import torch

from modcore.engine.weights.base import LayerWeight
from modcore.engine.weights.declaration import Shard, TensorSpec, WeightSpec
from modcore.engine.weights.safetensors_files import SafetensorsFiles
from modcore.errors import CheckpointError

_SHOWN = 5
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def resolve_dtype(
    files: SafetensorsFiles, layers: Iterable[LayerWeight], dtype: str
) -> torch.dtype:
    """`dtype`, or for ``auto`` the one that the weights of `layers` are stored in.

    A float16 checkpoint is computed in float32: CPUs have no fast float16, and bfloat16 would
    lose bits.
    """
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    names = {part.name for layer in layers for spec in layer.declare() for part in spec.parts}
    kinds = {entry.dtype for name, entry in files.tensors.items() if name in names}
    return torch.bfloat16 if kinds == {"BF16"} else torch.float32


def load_weights(
    files: SafetensorsFiles,
    layers: Sequence[LayerWeight],
    dtype: torch.dtype,
    ignored: Iterable[str] = (),
    shard: Shard = Shard(),  # noqa: B008  frozen
) -> None:
    """Set every declared attribute of `layers`, reading only what `shard` holds.

    `ignored` are patterns of tensor names that a checkpoint may hold without being used.
    Raises CheckpointError that names every tensor which is missing, unexpected, wrongly shaped, of
    a wrong dtype or not finite.
    """
    declared = [(layer, list(layer.declare())) for layer in layers]
    _verify(files, [spec for _, specs in declared for spec in specs], ignored)
    for layer, specs in declared:
        for spec in specs:
            setattr(layer, spec.attribute, _read_weight(files, spec, dtype, shard))


def _verify(files: SafetensorsFiles, specs: list[WeightSpec], ignored: Iterable[str]) -> None:
    parts = {part.name: part for spec in specs for part in spec.parts}
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
        elif entry.dtype not in _FLOATS:
            yield (
                f"Tensor {part.name} in {entry.file} has dtype {entry.dtype} where floating point is "
                "expected; convert it to bfloat16 or float32."
            )


def _read_weight(
    files: SafetensorsFiles, spec: WeightSpec, dtype: torch.dtype, shard: Shard
) -> torch.Tensor:
    """The parts of `spec`, checked, converted, and fused along their first dimension."""
    parts = [_arrange(_read_part(files, part, dtype, shard), part, shard) for part in spec.parts]
    # A copy of its own, so that nothing keeps the file mapped once the files are closed.
    return torch.cat(parts) if len(parts) > 1 else parts[0].clone()


def _arrange(tensor: torch.Tensor, part: TensorSpec, shard: Shard) -> torch.Tensor:
    """What this rank read, as the layers want it; see `TensorSpec` for the two."""
    if part.once and shard.rank:
        return torch.zeros_like(tensor)
    if not part.interleaved:
        return tensor
    groups = tensor.reshape(
        -1, sum(part.interleaved), *tensor.shape[1:]
    )  # [groups, rows of one, ...]
    by_part = groups.split_with_sizes(part.interleaved, dim=1)
    return torch.cat([rows.flatten(0, 1) for rows in by_part])


def _read_part(
    files: SafetensorsFiles, part: TensorSpec, dtype: torch.dtype, shard: Shard
) -> torch.Tensor:
    name = part.name if part.name in files.tensors else part.default_to
    assert name is not None
    tensor = files.read(name, part.slices(shard))
    # The sum of finite numbers may overflow; only then is every element looked at.
    if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"Tensor {name} in {files.tensors[name].file} holds values that are not finite "
            "(NaN or infinity); the checkpoint is damaged, fetch or train it again."
        )
    converted = tensor.to(dtype)
    if (
        converted.dtype != tensor.dtype
        and not torch.isfinite(converted.sum())
        and not torch.isfinite(converted).all()
    ):
        raise CheckpointError(
            f"Tensor {name} in {files.tensors[name].file} holds values that do not fit into {dtype}; convert it again with smaller ones."
        )
    return converted
