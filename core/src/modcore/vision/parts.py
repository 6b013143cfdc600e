"""Image parts of chat messages: taken out, in order, and marked where they stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modcore.errors import InvalidRequest

DETAILS = ("low", "high", "auto")


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image of a message: a PIL image, a path or encoded bytes; and how closely to look at it."""

    source: Any
    detail: str = "auto"


def split_messages(
    messages: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[ImagePart]]:
    """`messages` as templates read them, ``{"type": "image"}`` for each image, and the images in order."""
    images: list[ImagePart] = []
    plain = [
        {**message, "content": _content(message.get("content"), images)} for message in messages
    ]
    return plain, images


def _content(content: Any, images: list[ImagePart]) -> Any:
    if not isinstance(content, (list, tuple)):
        return content
    return [_part(part, images) for part in content]


def _part(part: Mapping[str, Any], images: list[ImagePart]) -> dict[str, Any]:
    if part.get("type") != "image":
        return dict(part)
    detail = part.get("detail", "auto")
    if detail not in DETAILS:
        raise InvalidRequest(
            f"detail is {detail!r}; it has to be one of {', '.join(DETAILS)}.", param="messages"
        )
    images.append(ImagePart(part.get("image"), detail))
    return {"type": "image"}
