"""From what a message holds to an image that has been looked at, not decoded yet."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modcore.errors import EngineClosed, InvalidRequest
from modcore.vision.fetch import Fetcher
from modcore.vision.images import (
    BadImage,
    Header,
    decode,
    read_header,
    to_rgb,
    verify_frames,
    verify_length,
    verify_size,
)
from modcore.vision.options import VisionOptions
from modcore.vision.parts import ImagePart, ImageURL

if TYPE_CHECKING:
    from PIL.Image import Image

#: Media types of ``data:`` URLs, and what their bytes have to be; a URL may leave it out.
_LABELS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/webp": "WEBP"}
_URLS = ("data:", "https://", "http://")


@dataclass(frozen=True, slots=True)
class SeenImage:
    """An image whose header has been read: its upright size, and what tells it from all others.

    It is held as a caller gave it, encoded or as a PIL image, until `open`.
    """

    width: int
    height: int
    digest: bytes
    data: bytes | None = None
    header: Header | None = None
    image: Image | None = None

    def open(self) -> Image:
        """The image in RGB; raises BadImage when its data is damaged."""
        if self.image is not None:
            return self.image
        assert self.data is not None and self.header is not None
        return decode(self.data, self.header)


def see_images(
    parts: Sequence[ImagePart],
    options: VisionOptions,
    fetcher: Fetcher | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> list[SeenImage]:
    """The images of `parts`; raises BadImage that names which one is wrong.

    Images that have to be fetched come last: none is, when another one is refused. Raises EngineClosed
    instead of fetching what `is_wanted` says nobody waits for.
    """
    fetcher = fetcher or Fetcher(options)
    order = sorted(range(len(parts)), key=lambda place: _is_remote(parts[place].source))
    seen: dict[int, SeenImage] = {}
    for place in order:
        if _is_remote(parts[place].source) and not is_wanted():
            raise EngineClosed("Nobody waits for the answer any more.")
        try:
            seen[place] = see_image(parts[place].source, options, fetcher)
        except BadImage as error:
            raise error.of(place + 1, len(parts)) from error.__cause__
    return [seen[place] for place in range(len(parts))]


def see_image(source: Any, options: VisionOptions, fetcher: Fetcher) -> SeenImage:
    """The image of `source`: an ImageURL, a PIL image, a path, or encoded bytes."""
    if isinstance(source, ImageURL):
        return _see_url(source.text, options, fetcher)
    if isinstance(source, bytes):
        return _see_bytes(source, options)
    if isinstance(source, str) and source[:8].lower().startswith(_URLS):
        raise BadImage(
            f"is the URL {source[:40]!r} where a path is expected; give it as "
            '{"type": "image_url", "image_url": {"url": "..."}}.'
        )
    if isinstance(source, (str, Path)):
        return _see_bytes(_read_file(Path(source), options), options)
    return _see_image(source, options)


def _is_remote(source: Any) -> bool:
    return isinstance(source, ImageURL) and source.text[:5].lower() != "data:"


def _see_url(url: str, options: VisionOptions, fetcher: Fetcher) -> SeenImage:
    if url[:5].lower() != "data:":
        return _see_bytes(fetcher.fetch(url), options)
    label, data = _read_data_url(url, options)
    seen = _see_bytes(data, options)
    assert seen.header is not None
    if label and _LABELS[label] != seen.header.format:
        raise BadImage(f"is labelled {label}, and its bytes are {seen.header.format}; correct one.")
    return seen


def _see_bytes(data: bytes, options: VisionOptions) -> SeenImage:
    header = read_header(data, options)
    digest = hashlib.sha256(data).digest()
    return SeenImage(header.width, header.height, digest, data=data, header=header)


def _see_image(image: Image, options: VisionOptions) -> SeenImage:
    """A PIL image as it is: turning it is its owner's affair, as with transformers' processors."""
    verify_size(*image.size, options)
    verify_frames(getattr(image, "n_frames", 1))
    try:
        image = to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # it reads its file only now, and says in many ways what is wrong
        raise BadImage(
            f"({image.width} x {image.height}, mode {image.mode}) cannot be read as RGB: its file has been closed, is "
            "damaged or ends early."
        ) from error
    digest = hashlib.sha256(f"RGB {image.size} ".encode() + image.tobytes()).digest()
    return SeenImage(*image.size, digest, image=image)


def _read_file(file: Path, options: VisionOptions) -> bytes:
    try:
        if not file.is_file():  # a device may never end
            raise BadImage(f"is to be read from {file}, where there is no file; check the path.")
        with file.open("rb") as stream:
            verify_length(file.stat().st_size, options)
            data = stream.read(options.max_image_bytes + 1)
    except OSError as error:
        raise BadImage(f"cannot be read from {file}: {error.strerror}.") from error
    verify_length(len(data), options)
    return data


def _read_data_url(url: str, options: VisionOptions) -> tuple[str, bytes]:
    """The media type (empty when none is said) and the bytes of a ``data:`` URL (RFC 2397)."""
    head, comma, payload = url.partition(",") if "," in url[:256] else (url[:256], "", "")
    label, *settings = head[5:].lower().split(";")
    if not comma or not settings or settings[-1].strip() != "base64":
        raise BadImage(
            f"is a data: URL that is no base64: it begins with {head[:40]!r} and not with data:image/png;base64,"
        )
    label = label.strip()
    if label and label not in _LABELS:
        raise BadImage(f"is labelled {label[:40]!r}, and {', '.join(_LABELS)} are read.")
    verify_length(len(payload) * 3 // 4 - payload[-2:].count("="), options)
    try:
        return label, binascii.a2b_base64(payload.encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        raise BadImage(
            f"is a data: URL whose {len(payload)} characters are no base64; encode it again (RFC 4648, section 4: "
            "with padding, without line breaks, blanks or percent signs)."
        ) from None


def verify_count(count: int, options: VisionOptions) -> None:
    """Raise InvalidRequest when there are more images than a request may have tiles."""
    most = options.max_request_tiles
    if most is not None and count > most:
        raise InvalidRequest(
            f"The messages hold {count} images, and a request has {most} tiles at most; send fewer.",
            param="messages",
        )
