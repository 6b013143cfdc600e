"""What the engine asks of a model that reads more than text; `modcore.vision.VisionModel` is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from modcore.engine.features import Span
from modcore.plugins.records import ModelPart


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as the engine takes it: token ids, and what stands at `spans` of them."""

    ids: list[int]
    spans: tuple[Span, ...] = ()


@runtime_checkable
class MultimodalModel(Protocol):
    """A checkpoint's model with a text model inside, which the engine builds and runs."""

    def language_part(self) -> ModelPart:
        """The text model: its config, and where its tensors are."""
        ...

    def read(self, messages: Sequence[Mapping[str, Any]], most_tokens: int | None) -> Reading:
        """Chat messages, rendered for an answer, with the features of what they show.

        May take as long as computing the features does. Raises InvalidRequest for messages that
        cannot be read, or that `most_tokens` cannot hold, before anything large is computed.
        """
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
