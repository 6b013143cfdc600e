"""From what a message holds to an image in memory."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import torch

from modcore.vision.options import VisionOptions

if TYPE_CHECKING:
    from PIL.Image import Image


def open_image(source: Any, _options: VisionOptions) -> Image:
    """The RGB image of `source`: a PIL image, a path, or encoded bytes."""
    import PIL.Image

    if isinstance(source, PIL.Image.Image):
        return source.convert("RGB")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with PIL.Image.open(file) as image:
        return image.convert("RGB")


def digest_of(pixels: torch.Tensor) -> bytes:
    """What tells `pixels` from all others, 32 bytes."""
    shape = repr(tuple(pixels.shape)).encode()
    return hashlib.sha256(shape + pixels.contiguous().numpy().tobytes()).digest()
