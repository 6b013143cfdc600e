"""The body of ``POST /v1/chat/completions``: a conversation, and what is asked of the answer.

Source: the OpenAI API reference, *Chat completions*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    field_validator,
)

from modcore.engine import SamplingParams
from modcore.engine.sampling.checks import need_flag, refuse, shown
from modcore.errors import InvalidRequest
from modcore.serve.protocol import Flag, GenerationBody, Whole

MAX_MESSAGES = 4096
MAX_PARTS = 256  # of one message


class TextPart(BaseModel):
    """A part of a message that is text."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class ImageLocation(BaseModel):
    """Where an image is: a ``data:`` URL, or an ``https:`` one where the operator allows its domain."""

    model_config = ConfigDict(strict=True)

    url: str
    detail: Literal["auto", "low", "high"] | None = "auto"


class ImagePart(BaseModel):
    """A part of a message that is an image."""

    model_config = ConfigDict(strict=True)

    type: Literal["image_url"]
    image_url: ImageLocation


def _kind(value: Any) -> str:
    """Which of the unions' members is meant, so that what is wrong with that one is said."""
    if isinstance(value, list):
        return "<parts>"
    is_image = isinstance(value, ImagePart) or (
        isinstance(value, dict) and value.get("type") == "image_url"
    )
    return "<image>" if is_image else "<text>"


Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[ImagePart, Tag("<image>")], Discriminator(_kind)
]
Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Part], Tag("<parts>")], Discriminator(_kind)
]


class ChatMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(strict=True, extra="forbid")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _verify_content(cls, value: Any) -> Any:
        parts = value if isinstance(value, list) else []
        if not isinstance(value, (str, list)):
            raise ValueError("has to be text, or a list of parts")
        if len(parts) > MAX_PARTS:
            raise ValueError(f"has {len(parts)} parts; {MAX_PARTS} are the most")
        for part in parts:
            kind = part.get("type") if isinstance(part, dict) else part
            if kind not in ("text", "image_url"):
                raise ValueError(
                    f"has a part of the type {shown(kind)}; text and image_url are read"
                )
        return value

    @property
    def shows_images(self) -> bool:
        """Whether a part of it is an image."""
        return isinstance(self.content, list) and any(
            isinstance(part, ImagePart) for part in self.content
        )

    def to_template(self) -> dict[str, Any]:
        """The message as chat templates of text models take it: the content is text."""
        content = self.content
        if isinstance(content, list):
            content = "\n".join(part.text for part in content if isinstance(part, TextPart))
        return {"role": self.role, "content": content}

    def with_images(self) -> dict[str, Any]:
        """The message as models take it that read images: parts stay parts."""
        content = self.content
        if isinstance(content, list):
            return {"role": self.role, "content": [part.model_dump() for part in content]}
        return {"role": self.role, "content": content}


class ChatBody(GenerationBody):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], FailFast(), Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Whole = None
    logprobs: Flag = None
    top_logprobs: Whole = None

    renamed: ClassVar[Mapping[str, str]] = {"prompt": "messages", "logprobs": "top_logprobs"}

    def refuse_unserved(self) -> None:
        """Raise InvalidRequest for a field whose meaning could not be honoured."""
        super().refuse_unserved()
        if self.logprobs is not None:
            need_flag("logprobs", self.logprobs)
        if self.top_logprobs and not self.logprobs:
            refuse("top_logprobs", "needs logprobs: true.")

    def conversation(self, *, reads_images: bool) -> list[dict[str, Any]]:
        """The messages for the engine; raises InvalidRequest for an image to a text model."""
        if reads_images:
            return [message.with_images() for message in self.messages]
        for place, message in enumerate(self.messages):
            if message.shows_images:
                raise InvalidRequest(
                    f"messages[{place}].content: has a part of the type 'image_url'; this model takes text only.",
                    param="messages",
                )
        return [message.to_template() for message in self.messages]

    @property
    def shows_images(self) -> bool:
        """Whether one of the messages does."""
        return any(message.shows_images for message in self.messages)

    def names(self) -> dict[str, str]:
        """The engine's names of parameters, and the caller's where they differ."""
        newer = {} if self.max_completion_tokens is None else {"max_tokens": _NEWER}
        return {**super().names(), **newer}

    def chat_params(self) -> SamplingParams:
        """The parameters for the engine; raises InvalidRequest in the engine's names."""
        others: dict[str, Any] = {}
        if self.max_completion_tokens is not None:
            others["max_tokens"] = self.max_completion_tokens
        if self.logprobs:
            others["logprobs"] = 0 if self.top_logprobs is None else self.top_logprobs
        return self.sampling_params(**others)


_NEWER = "max_completion_tokens"
