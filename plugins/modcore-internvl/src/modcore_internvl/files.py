"""The checkpoint's files: how its tensors are spelled, and loading those of the vision part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from modcore.engine.kernels import Kernels, select_kernels
from modcore.engine.weights.loader import load_weights, resolve_dtype
from modcore.engine.weights.safetensors_files import SafetensorsFiles
from modcore.errors import CheckpointError
from modcore_internvl.config import InternVLConfig
from modcore_internvl.layouts import Layout, Spelling
from modcore_internvl.weights import (
    FINAL_NORM,
    BlockWeight,
    EmbeddingWeight,
    ProjectorWeight,
    VisionWeight,
)

import torch  # isort: skip


def spelling_of(directory: Path, layout: Layout) -> Spelling:
    """How the tensors in `directory` are spelled; raises CheckpointError for one that fits no way."""
    with SafetensorsFiles(directory) as files:
        names = list(files.tensors)
        best = max(layout.spellings, key=lambda spelling: len(_known(names, spelling)))
        known = set(_known(names, best))
        strange = [name for name in names if name not in known]
        if strange:
            begins = ", ".join((*best.vision, *best.text))
            raise CheckpointError(
                f"Tensor {strange[0]} in {files.tensors[strange[0]].file} is not expected"
                f"{f', and {len(strange) - 1} more are not' if len(strange) > 1 else ''}: names begin with "
                f"{begins}; check that config.json belongs to these weights."
            )
    return best


def _known(names: list[str], spelling: Spelling) -> list[str]:
    begins = (*spelling.vision, *spelling.text)
    return [name for name in names if name.startswith(begins)]


class VisionWeights:
    """Everything that the tower and the projector compute with."""

    def __init__(self, config: InternVLConfig, layout: Layout) -> None:
        names = layout.names
        self.embedding = EmbeddingWeight(config, names)
        self.blocks = [BlockWeight(config, names, n) for n in range(config.tower.layers_used)]
        self.projector = ProjectorWeight(config, names)

    def __iter__(self) -> Iterator[VisionWeight]:
        yield self.embedding
        yield from self.blocks
        yield self.projector


def load_vision(
    directory: Path, config: InternVLConfig, layout: Layout, spelling: Spelling, dtype: str
) -> tuple[VisionWeights, Kernels, torch.dtype]:
    """The weights, the kernels that they are packed for, and their dtype.

    Raises CheckpointError that names every tensor which is not as `config` says.
    """
    with SafetensorsFiles(directory, spelling.vision) as files:
        layers = config.tower.num_hidden_layers
        if layers > len(files.tensors):  # before a mistyped number fills the memory
            raise CheckpointError(
                f"{directory / 'config.json'}, vision_config: num_hidden_layers is {layers}, but the files "
                f"hold {len(files.tensors)} tensors of it; check that they belong together."
            )
        weights = VisionWeights(config, layout)
        chosen = resolve_dtype(files, weights, dtype)
        kernels = select_kernels(torch.device("cpu"), chosen)
        load_weights(files, list(weights), chosen, kernels, _unused(config, layout))
    return weights, kernels, chosen


def _unused(config: InternVLConfig, layout: Layout) -> Iterator[str]:
    """Patterns of tensors that are there and that nothing is computed with."""
    yield from layout.unused
    tower = config.tower
    for layer in range(tower.layers_used, tower.num_hidden_layers):
        yield f"^{re.escape(layout.names.layer.format(layer))}"
    if tower.holds_final_norm:
        yield f"^{FINAL_NORM}\\."
