"""Images on the command line: which file stands where in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modcore.errors import InvalidRequest

#: What places an image in a prompt.
PLACE = "<image>"


def conversation(prompt: str, images: Sequence[str], detail: str) -> list[dict[str, Any]]:
    """One message of a user: the images first, in order, or where `prompt` places them with ``<image>``.

    `detail` is OpenAI's, the same for all: ``auto``, ``low`` or ``high``.
    Raises InvalidRequest, with the counts, when it places more or fewer than there are.
    """
    shown = [{"type": "image", "image": Path(image), "detail": detail} for image in images]
    pieces = prompt.split(PLACE)
    placed = len(pieces) - 1
    if not placed:
        return [{"role": "user", "content": [*shown, _text(prompt)]}]
    if placed != len(shown):
        raise InvalidRequest(
            f"the prompt places {placed} images ({PLACE}) and {len(shown)} are given; give as many of one as of "
            "the other.",
            param="image",
        )
    parts = [_text(pieces[0])]
    for image, piece in zip(shown, pieces[1:], strict=True):
        parts += [image, _text(piece)]
    return [{"role": "user", "content": [part for part in parts if part.get("text") != ""]}]


def verify_files(images: Sequence[str]) -> None:
    """Raise InvalidRequest for a path at which there is no file, before anything is loaded."""
    for image in images:
        try:
            is_file = Path(image).is_file()
        except OSError as error:  # a name that is too long, a directory that is closed
            raise InvalidRequest(
                f"{image:.80} cannot be read: {error.strerror}; check the path.", param="image"
            ) from None
        if not is_file:
            raise InvalidRequest(f"there is no file {image}; check the path.", param="image")


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
