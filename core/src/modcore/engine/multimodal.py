"""What the engine asks of a model that reads more than text; `modcore.vision.VisionModel` is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from modcore.engine.features import Span
from modcore.plugins.records import ModelPart


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as the engine takes it: token ids, and what stands at `spans` of them."""

    ids: list[int]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaStats:
    """What a multimodal model has read: images asked for, those of them whose features were known.

    `tiles_total` and `seconds_total` are of what was computed, decoding included; `waiting` images
    are computed or wait to be; `cache_bytes` are the features that are kept.
    """

    images_total: int
    cache_hits_total: int
    tiles_total: int
    seconds_total: float
    waiting: int
    cache_bytes: int


@runtime_checkable
class MultimodalModel(Protocol):
    """A checkpoint's model with a text model inside, which the engine builds and runs."""

    @property
    def largest_medium(self) -> int:
        """The most bytes that what a message shows may be encoded in."""
        ...

    def language_part(self) -> ModelPart:
        """The text model: its config, and where its tensors are."""
        ...

    def load(self) -> None:
        """Load now what reading would load when it is first needed; raises CheckpointError."""
        ...

    def read(
        self,
        messages: Sequence[Mapping[str, Any]],
        most_tokens: int | None,
        is_wanted: Callable[[], bool],
    ) -> Reading:
        """Chat messages, rendered for an answer, with the features of what they show.

        May take as long as computing the features does, and gives up with EngineClosed once
        `is_wanted` says that nobody waits any more. Raises InvalidRequest for messages that cannot be
        read, or that `most_tokens` cannot hold, before anything large is computed.
        """
        ...

    def stats(self) -> MediaStats:
        """What has been read so far; never waits for what is being read."""
        ...

    def close(self) -> None:
        """End what computes features; nothing is read any more."""
        ...


def shows_more_than_text(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a part of a message is no text."""
    return any(
        isinstance(part, Mapping) and part.get("type", "text") != "text"
        for message in messages
        if isinstance(content := message.get("content"), (list, tuple))
        for part in content
    )
