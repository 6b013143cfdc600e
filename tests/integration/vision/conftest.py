"""A small checkpoint that reads images, and what runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modcore.vision import VisionModel, load_vl_model
from vision_checkpoints import write_internvl


@pytest.fixture(scope="session")
def vision_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model that transformers wrote: tiles of 28 pixels, 4 tokens each; do not change it."""
    return write_internvl(tmp_path_factory.mktemp("vision") / "tiny-internvl")


@pytest.fixture(scope="session")
def model(vision_checkpoint: Path) -> Iterator[VisionModel]:
    """The model with its language model."""
    loaded = load_vl_model(vision_checkpoint, with_llm=True, dtype="float32")
    yield loaded
    loaded.engine.close()
