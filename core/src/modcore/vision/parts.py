"""Image parts of chat messages: taken out, in order, and marked where they stood.

Source: the OpenAI API reference, *Chat completions*, ``image_url``; transformers' chat templates, ``image``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modcore.errors import InvalidRequest

#: What a caller may ask for, and what models are told: ``auto`` is as close a look as ``high``.
DETAILS = {"low": "low", "high": "high", "auto": "high"}


@dataclass(frozen=True, slots=True)
class ImageURL:
    """Where an image is, as a caller wrote it: never a path."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image of a message, and how closely to look at it, ``low`` or ``high``.

    `source` is an ImageURL, a PIL image, a path or encoded bytes.
    """

    source: Any
    detail: str = "high"


def split_messages(
    messages: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[ImagePart]]:
    """`messages` as templates read them, ``{"type": "image"}`` for each image, and the images in order.

    Raises InvalidRequest for what are no messages, and for a part that is neither text nor an image.
    """
    if isinstance(messages, Mapping) or not all(isinstance(each, Mapping) for each in messages):
        raise InvalidRequest(
            f"{messages!r:.80} is no list of messages; give "
            '[{"role": "user", "content": [{"type": "text", "text": "..."}]}].',
            param="messages",
        )
    images: list[ImagePart] = []
    plain = [
        {**message, "content": _content(message.get("content"), images)} for message in messages
    ]
    return plain, images


def _content(content: Any, images: list[ImagePart]) -> Any:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise InvalidRequest(
            f"content is {content!r:.80}; it has to be text, or a list of parts.", param="messages"
        )
    return [_part(part, images) for part in content]


def _part(part: Any, images: list[ImagePart]) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else part
    if kind == "text":
        return _text(part)
    if kind == "image_url":
        images.append(_from_url(part.get("image_url"), part))
    elif kind == "image":
        images.append(_from_source(part.get("image"), part))
    else:
        raise InvalidRequest(
            f"A part of a message is of the type {kind!r:.80}; text, image_url and image are read.",
            param="messages",
        )
    return {"type": "image"}


def _text(part: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(part.get("text"), str):
        raise InvalidRequest(
            f"A part of a message holds the text {part.get('text')!r:.80}, which is none; give it a str.",
            param="messages",
        )
    return dict(part)


def _from_url(value: Any, part: Mapping[str, Any]) -> ImagePart:
    fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {"url": value}
    source, detail = fields.get("url"), fields.get("detail", part.get("detail"))
    if isinstance(source, str):
        return ImagePart(ImageURL(source), _detail(detail))
    return _from_source(source, {"detail": detail})


def _from_source(source: Any, part: Mapping[str, Any]) -> ImagePart:
    import PIL.Image

    if not isinstance(source, (PIL.Image.Image, str, Path, bytes)):
        raise InvalidRequest(
            f"An image part holds {source!r:.80} (a {type(source).__name__}); give a PIL image, a path, the "
            'encoded bytes, or {"type": "image_url", "image_url": {"url": "data:..."}}.',
            param="messages",
        )
    return ImagePart(source, _detail(part.get("detail")))


def _detail(value: Any) -> str:
    if value is None:
        return "high"
    if not isinstance(value, str) or value not in DETAILS:
        raise InvalidRequest(
            f"detail is {value!r:.80}; it has to be one of {', '.join(DETAILS)}.", param="messages"
        )
    return DETAILS[value]
