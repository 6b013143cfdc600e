"""The vision model: what a plugin declares and computes, and what follows from it.

A plugin brings the parts that differ between models: how many tiles and tokens an image becomes, its
pixels, its features, how it stands in a prompt. What is the same for all is done here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from modcore.engine.multimodal import MediaStats, Reading
from modcore.engine.tokenizer import Tokenizer
from modcore.errors import InvalidRequest, StepFailed
from modcore.plugins.records import ModelPart
from modcore.vision.first_use import FirstUse, build_on_first_use
from modcore.vision.options import VisionOptions
from modcore.vision.reader import FeatureReader, Prepared
from modcore.vision.rendering import PromptFormat, Renderer

if TYPE_CHECKING:
    from PIL.Image import Image

    from modcore.engine import Engine


@dataclass(frozen=True, slots=True)
class VisionInputs:
    """Messages, ready for the tower and the language model.

    `spans` are ``(start, stop)`` into `input_ids`, one an image; `pixel_values` one tensor an image,
    ``[tiles, channels, height, width]`` float32.
    """

    input_ids: list[int]
    spans: list[tuple[int, int]]
    pixel_values: list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What an image becomes: `tiles` for the tower, a thumbnail among them, and `tokens` of a prompt."""

    tiles: int
    tokens: int


class VisionModel(ABC):
    """A checkpoint's model that reads images; `modcore.engine.multimodal.MultimodalModel` to the engine.

    Constructed as ``cls(path, config, **options)`` (see VisionOptions), which reads and checks `config`
    and loads nothing. Raises CheckpointError for a config that cannot be served.
    """

    #: The architectures it serves, and the model types of configs that name no architecture.
    architectures: ClassVar[frozenset[str]] = frozenset()
    model_types: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, path: Path, config: Mapping[str, Any], **options: Any) -> None:
        self.path = path
        self.config = config
        self.options = VisionOptions.read(options)
        self.first_use = FirstUse()
        self.reader = FeatureReader(self)
        self._engine: Engine | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        build_on_first_use(cls)

    @classmethod
    def match(cls, config: Mapping[str, Any]) -> bool:
        """Whether it serves the checkpoint whose ``config.json`` is `config`."""
        named = config.get("architectures") or []
        names = [named] if isinstance(named, str) else list(named)
        return bool(
            cls.architectures.intersection(names)
            if names
            else config.get("model_type") in cls.model_types
        )

    # What a plugin brings

    @abstractmethod
    def build_preprocessor(self) -> None:
        """Read tokenizer and processor settings; done once, on first use."""

    @abstractmethod
    def build_model(self) -> None:
        """Load the weights of tower and projector; done once, on first use, by one thread at a time."""

    @abstractmethod
    def language_part(self) -> ModelPart:
        """The text model: its config, and where its tensors are."""

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer."""

    @property
    @abstractmethod
    def prompt_format(self) -> PromptFormat:
        """How images stand in a prompt."""

    @abstractmethod
    def measure(self, width: int, height: int, detail: str) -> ImageSize:
        """What an image of `width` times `height` pixels becomes; allocates nothing.

        `detail` is ``low`` or ``high``, which is also what callers get who ask for ``auto``.
        """

    @abstractmethod
    def pixels(self, image: Image, detail: str) -> torch.Tensor:
        """`image` (RGB) as the tower reads it, ``[tiles, channels, height, width]`` float32."""

    @abstractmethod
    def forward(self, pixel_values: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The features ``[tokens, hidden]`` of each item of `pixel_values`.

        It is called when `build_model` has returned, and without gradients.
        """

    # What follows from it

    @property
    def engine(self) -> Engine:
        """The engine that runs the language model, of a model that was loaded with it.

        Raises InvalidRequest for one that was not.
        """
        if self._engine is None:
            raise InvalidRequest(
                "The model was loaded without its language model; load it with with_llm=True.",
                param="with_llm",
            )
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = engine

    def preprocess(self, messages: Sequence[Mapping[str, Any]]) -> VisionInputs:
        """`messages` (as the OpenAI API writes them) for the tower and the language model.

        Raises InvalidRequest, with the counts, for what cannot be read or is beyond a limit; sizes
        are checked before anything large is allocated.
        """
        prepared = Prepared(self, messages)
        pixels = [prepared.pixels(self, place) for place in range(len(prepared.images))]
        return VisionInputs(prepared.prompt.ids, prepared.prompt.spans, pixels)

    def verify_sizes(self, sizes: Sequence[ImageSize]) -> None:
        """Raise InvalidRequest unless the images of a request are within the limits for tiles.

        Raises StepFailed for what `measure` should not have returned.
        """
        for size in sizes:
            if not isinstance(size, ImageSize) or min(size.tiles, size.tokens) < 1:
                raise StepFailed(
                    f"{type(self).__name__} measures an image as {size!r:.80}, and not as an ImageSize of one or "
                    "more tiles and tokens; update the package that brings it."
                )
        each, whole = self.options.max_tiles, self.options.max_request_tiles
        for number, size in enumerate(sizes, 1):
            if each is not None and size.tiles > each:
                raise InvalidRequest(
                    f"Image {number} of {len(sizes)} becomes {size.tiles} tiles, and {each} are the most; "
                    'send a smaller one, or ask for detail "low".',
                    param="messages",
                )
        total = sum(size.tiles for size in sizes)
        if whole is not None and total > whole:
            raise InvalidRequest(
                f"{len(sizes)} images become {total} tiles, and {whole} are the most of a request; "
                'send fewer, or ask for detail "low".',
                param="messages",
            )

    # What the engine asks for

    @property
    def largest_medium(self) -> int:
        """See `MultimodalModel.largest_medium`."""
        return self.options.max_image_bytes

    def load(self) -> None:
        """See `MultimodalModel.load`."""
        self.build_preprocessor()
        self.build_model()
        self.renderer  # noqa: B018  made now

    def read(
        self,
        messages: Sequence[Mapping[str, Any]],
        most_tokens: int | None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Reading:
        """See `MultimodalModel.read`."""
        return self.reader.read(messages, most_tokens, is_wanted)

    def stats(self) -> MediaStats:
        """See `MultimodalModel.stats`."""
        return self.reader.stats()

    def close(self) -> None:
        """See `MultimodalModel.close`."""
        self.reader.close()

    @cached_property
    def renderer(self) -> Renderer:
        """What renders messages with the checkpoint's template."""
        return Renderer(self.tokenizer, self.prompt_format)
