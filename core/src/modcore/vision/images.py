"""From encoded bytes to an image in memory: looked at first, decoded only when it may be.

What is decided here is decided by the bytes: names and labels are somebody's claim. Pillow's own words
go nowhere: they hold addresses of memory.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modcore.errors import InvalidRequest
from modcore.vision.declared import MOST_PARTS, declared
from modcore.vision.options import VisionOptions

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_SIDE = 2
#: How long one image may take to decode, in seconds.
DECODING_SECONDS = 10.0
#: A JPEG may refine itself in as many scans as its bytes hold, each of the whole image.
MOST_SCANS = 256
#: Bytes that a decoder gets at once: between them the clock is looked at.
_BLOCK = 16_384
_ORIENTATION = 0x0112


class BadImage(InvalidRequest):
    """An image that is not read; `reason` goes on after a name for it, as in *has 3 frames*."""

    def __init__(self, reason: str, name: str = "The image") -> None:
        super().__init__(f"{name} {reason}", param="messages")
        self.reason = reason

    def of(self, number: int, total: int) -> BadImage:
        """The same of image `number` of `total`."""
        return BadImage(self.reason, f"Image {number} of {total}")


@dataclass(frozen=True, slots=True)
class Header:
    """What an image says of itself: `format` is ``PNG``, ``JPEG`` or ``WEBP``; the size is upright."""

    format: str
    width: int
    height: int
    orientation: int


def read_header(data: bytes, options: VisionOptions) -> Header:
    """The header of an encoded image; nothing is decoded, and nothing large is allocated.

    Raises BadImage for what is no PNG, JPEG or WebP image, is beyond the limits of `options`, is
    smaller than 2 by 2 pixels, or has more frames than one.
    """
    verify_length(len(data), options)
    name = _format_of(data)
    said = declared(name, data)  # before Pillow prepares anything for it
    if said.size:
        verify_size(*said.size, options)
    if said.parts > MOST_PARTS:
        raise BadImage(
            f"has more than {MOST_PARTS} parts before its pixels ({name}); save it again, without what is no image."
        )
    header, frames = _open_header(data, name)
    verify_size(header.width, header.height, options)
    verify_frames(frames)
    return header


def decode(data: bytes, header: Header) -> Image:
    """The image of `data`, upright and RGB; transparency is laid on white, as transformers does.

    Raises BadImage when the data is damaged, ends early, or takes too long.
    """
    import PIL.Image

    scans = data.count(b"\xff\xda") if header.format == "JPEG" else 0
    if scans > MOST_SCANS:
        raise BadImage(f"is a JPEG of {scans} scans, and {MOST_SCANS} are the most; save it again.")
    try:
        with PIL.Image.open(_Timed(data), formats=[header.format]) as image:
            image.decodermaxblock = _BLOCK
            image.load()
            turn = _TURNS.get(header.orientation)
            return to_rgb(image if turn is None else image.transpose(PIL.Image.Transpose(turn)))
    except _TooSlow:
        raise BadImage(
            f"was not decoded within {DECODING_SECONDS:.0f} seconds; save it in a simpler way."
        ) from None
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever damaged bytes make them raise
        raise BadImage(
            f"cannot be decoded: the data of its {len(data)} bytes is damaged or ends early "
            f"({header.format}, {header.width} x {header.height}); send all of it."
        ) from error


def to_rgb(image: Image) -> Image:
    """`image` in RGB, as transformers' processors convert it: what is transparent shows white."""
    import PIL.Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        return PIL.Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def verify_length(length: int, options: VisionOptions) -> None:
    """Raise BadImage for an encoded image of too many bytes, or of none."""
    if length == 0:
        raise BadImage("is empty (0 bytes); send a PNG, JPEG or WebP image.")
    if length > options.max_image_bytes:
        raise BadImage(
            f"has {length} bytes, and {options.max_image_bytes} are the most; send a smaller one."
        )


def verify_size(width: int, height: int, options: VisionOptions) -> None:
    """Raise BadImage for an image of too many pixels, or too few."""
    if width < LEAST_SIDE or height < LEAST_SIDE:
        raise BadImage(
            f"is {width} x {height} pixels, and {LEAST_SIDE} x {LEAST_SIDE} are the least; send a larger one."
        )
    if width * height > options.max_image_pixels:
        raise BadImage(
            f"is {width} x {height} = {width * height} pixels, and {options.max_image_pixels} are the most; "
            "send a smaller one."
        )


def verify_frames(frames: int) -> None:
    """Raise BadImage for an animation."""
    if frames > 1:
        raise BadImage(f"has {frames} frames, and 1 is read; send the one that is meant.")


def _format_of(data: bytes) -> str:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    raise BadImage(
        f"is no PNG, JPEG or WebP image: its {len(data)} bytes begin with {data[:8]!r}; convert it to one."
    )


def _open_header(data: bytes, name: str) -> tuple[Header, int]:
    import PIL.Image

    try:
        # JPEGs of several pictures are MPO to Pillow, which finds out as it opens them.
        with PIL.Image.open(io.BytesIO(data), formats=[name]) as image:
            orientation = _orientation(image)
            width, height = image.size if orientation < 5 else image.size[::-1]
            return Header(name, width, height, orientation), getattr(image, "n_frames", 1)
    except Exception as error:
        raise BadImage(
            f"cannot be read: the header of its {len(data)} bytes ({name}) is damaged or ends early, or says what "
            "is not read; send all of it, or save it again in a simpler way."
        ) from error


def _orientation(image: Image) -> int:
    """How it has to be turned (EXIF), 1 to 8; what stands behind the pixels is not looked for."""
    import PIL.Image

    try:
        value = PIL.Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF turns nothing
        return 1
    return value if value in _TURNS else 1


#: EXIF's orientations and Pillow's numbers of the turns that undo them.
_TURNS: dict[Any, int] = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class _TooSlow(Exception):
    """Decoding has taken too long."""


class _Timed(io.BytesIO):
    """A file that ends a decoder which reads from it for too long."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._deadline = time.monotonic() + DECODING_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._deadline:
            raise _TooSlow
        return super().read(size)
