"""The two model classes: what differs between the layouts, and what both do with it."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from modcore.checkpoint import read_json_object
from modcore.engine.tokenizer import Tokenizer
from modcore.errors import CheckpointError
from modcore.plugins.records import ModelPart
from modcore.vision.base import ImageSize, VisionModel
from modcore.vision.rendering import PromptFormat
from modcore_internvl.chat import take_images
from modcore_internvl.config import InternVLConfig
from modcore_internvl.files import load_vision, spelling_of
from modcore_internvl.layouts import HF, REMOTE, Layout, Spelling
from modcore_internvl.processing import Processor
from modcore_internvl.settings import declared_tokens, read_hf, read_remote, tokens_of_a_tile
from modcore_internvl.templates import TEMPLATES
from modcore_internvl.tower import Tower

if TYPE_CHECKING:
    from PIL.Image import Image


class InternVL(VisionModel):
    """InternVL of either layout (arXiv 2404.16821, 2412.05271, 2504.10479)."""

    layout: ClassVar[Layout]

    def __init__(self, path: Path, config: Mapping[str, Any], **options: Any) -> None:
        super().__init__(path, config, **options)
        self.parsed = InternVLConfig.read(config, str(path / "config.json"), self.layout)
        self.processor = self._read_processor()
        self.tokens_per_tile = tokens_of_a_tile(self.processor, self.parsed, str(path))
        self._building = threading.Lock()
        self._tower: Tower | None = None

    @abstractmethod
    def _read_processor(self) -> Processor:
        """How images are cut."""

    @abstractmethod
    def _read_format(self) -> PromptFormat:
        """How images stand in a prompt."""

    @cached_property
    def _spelling(self) -> Spelling:
        return spelling_of(self.path, self.layout)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """See `VisionModel.tokenizer`."""
        return Tokenizer(self.path)

    @cached_property
    def prompt_format(self) -> PromptFormat:
        """See `VisionModel.prompt_format`."""
        read = self._read_format()
        take_images(self.tokenizer.fast, read.placeholder)
        return read

    def build_preprocessor(self) -> None:
        """See `VisionModel.build_preprocessor`."""
        self.prompt_format  # noqa: B018  read now, with the tokenizer

    def build_model(self) -> None:
        """See `VisionModel.build_model`."""
        self.tower  # noqa: B018  loaded now

    @property
    def tower(self) -> Tower:
        """Tower and projector with their weights."""
        with self._building:
            if self._tower is None:
                loaded = load_vision(
                    self.path, self.parsed, self.layout, self._spelling, self.options.dtype
                )
                self._tower = Tower(self.parsed, *loaded)
            return self._tower

    def language_part(self) -> ModelPart:
        """See `VisionModel.language_part`."""
        return ModelPart(config=self.parsed.text, prefixes=self._spelling.text)

    def measure(self, width: int, height: int, detail: str) -> ImageSize:
        """See `VisionModel.measure`."""
        tiles = self.processor.tiles(width, height, detail)
        return ImageSize(tiles, tiles * self.tokens_per_tile)

    def pixels(self, image: Image, detail: str) -> torch.Tensor:
        """See `VisionModel.pixels`."""
        return self.processor.pixels(image, detail)

    def forward(self, pixel_values: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """See `VisionModel.forward`; a tile alone is an item, too."""
        items = [each if each.dim() == 4 else each[None] for each in pixel_values]
        tower = self.tower
        for tiles in items:  # all of them, before the first is computed
            tower.verify(tiles)
        return [tower(tiles).flatten(0, 1) for tiles in items]


class InternVLForConditionalGeneration(InternVL):
    """As transformers writes it."""

    architectures = frozenset({"InternVLForConditionalGeneration"})
    model_types = frozenset({"internvl"})
    layout = HF

    def _read_processor(self) -> Processor:
        processor = read_hf(self.path)
        said = declared_tokens(self.path, self.config)
        tokens = tokens_of_a_tile(processor, self.parsed, str(self.path))
        if said != tokens:
            raise CheckpointError(
                f"{self.path}: image_seq_length is {said}, and a tile of {processor.tile} pixels becomes "
                f"{tokens} tokens; correct the one that is wrong."
            )
        return processor

    def _read_format(self) -> PromptFormat:
        """The tokens are the tokenizer's; the template is its own, or the processor's of old."""
        fast = self.tokenizer.fast
        names = {name: getattr(fast, f"{name}_image_token", None) for name in _TOKENS}
        file = self.path / "chat_template.json"
        old = read_json_object(file).get("chat_template") if file.is_file() else None
        template = old if isinstance(old, str) else None
        return _format(template=template, **{name: said for name, said in names.items() if said})


class InternVLChatModel(InternVL):
    """As the models' own code wrote it; none of that code runs."""

    architectures = frozenset({"InternVLChatModel"})
    model_types = frozenset({"internvl_chat"})
    layout = REMOTE

    def _read_processor(self) -> Processor:
        return read_remote(self.path, self.config)

    def _read_format(self) -> PromptFormat:
        """The tokens are fixed; without a chat template, the one that ``template`` names is used."""
        name = self.config.get("template")
        template = TEMPLATES.get(name) if isinstance(name, str) else None
        if not self.tokenizer.fast.chat_template and template is None:
            raise CheckpointError(
                f"{self.path} has no chat template, and the template {name!r:.80} that its config.json names is "
                f"not known; known are {', '.join(TEMPLATES)}. Put a chat_template.jinja beside it."
            )
        return _format(template=template)


#: What stands before, for and behind an image, where a tokenizer does not say it.
_TOKENS = {"start": "<img>", "context": "<IMG_CONTEXT>", "end": "</img>"}


def _format(*, template: str | None, **said: str) -> PromptFormat:
    names = {**_TOKENS, **said}
    context = names["context"]
    return PromptFormat(
        placeholder=context,
        text=f"{names['start']}{context}{names['end']}",
        token=context,
        template=template,
    )
