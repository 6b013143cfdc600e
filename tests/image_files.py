"""Encoded images, good ones and bad ones, and chat messages that show them."""

from __future__ import annotations

import base64
import functools
import io
import struct
import zlib
from typing import Any

from PIL import Image

from vision_checkpoints import random_image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """`image` as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def picture(width: int = 28, height: int = 28, format: str = "PNG", seed: int = 0) -> bytes:
    """A random image as the bytes of a file."""
    return encoded(random_image(width, height, seed), format)


def animation(format: str = "PNG", frames: int = 3) -> bytes:
    """A file of several frames."""
    first, *others = [random_image(28, 28, seed) for seed in range(frames)]
    return encoded(first, format, save_all=True, append_images=others)


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


@functools.cache
def flat_png(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel: very many pixels in very few bytes."""
    rows = zlib.compressobj(9)
    row = b"\0" * (1 + (width + 7) // 8)
    packed = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (png_chunk(b"IHDR", header), png_chunk(b"IDAT", packed), png_chunk(b"IEND", b""))
    )


def webp_header(width: int, height: int) -> bytes:
    """The beginning of a WebP file that claims a canvas of `width` times `height`."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + b"VP8L" + bytes(64)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def data_url(data: bytes, label: str = "image/png") -> str:
    """`data` as a URL."""
    return f"data:{label};base64,{base64.b64encode(data).decode()}"


def url_part(url: str, **fields: Any) -> dict[str, Any]:
    """An image part of a message, as the OpenAI API writes it."""
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def chat(*parts: dict[str, Any] | str) -> list[dict[str, Any]]:
    """One message of a user."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def _bad(width: int = 28, height: int = 28) -> dict[str, tuple[str, str]]:
    png, jpeg = picture(width, height), picture(64, 64, "JPEG")
    gif = encoded(random_image(8, 8), "GIF")
    return {
        "a truncated PNG": (data_url(png[: len(png) // 2]), "damaged or ends early"),
        "a truncated JPEG": (data_url(jpeg[:-300], "image/jpeg"), "damaged or ends early"),
        "a truncated WebP": (data_url(picture(64, 64, "WEBP")[:-40], "image/webp"), "damaged or ends early"),
        "a header alone": (data_url(png[:20]), "damaged or ends early"),
        "an animated PNG": (data_url(animation("PNG")), "has 3 frames, and 1 is read"),
        "an animated WebP": (data_url(animation("WEBP"), "image/webp"), "has 3 frames, and 1 is read"),
        "a JPEG of two pictures": (data_url(animation("MPO", 2), "image/jpeg"), "has 2 frames"),
        "one pixel": (data_url(picture(1, 1)), "is 1 x 1 pixels, and 2 x 2 are the least"),
        "one row": (data_url(picture(300, 1)), "is 300 x 1 pixels, and 2 x 2 are the least"),
        "12000 x 12000": (data_url(flat_png(12000, 12000)), "is 12000 x 12000 = 144000000 pixels"),
        "a WebP of 16384 x 16384": (data_url(webp_header(16384, 16384), "image/webp"), "= 268435456 pixels"),
        "a JPEG called PNG": (data_url(jpeg), "is labelled image/png, and its bytes are JPEG"),
        "a GIF": (data_url(gif, "image/gif"), "is labelled 'image/gif'"),
        "a GIF called PNG": (data_url(gif), "is no PNG, JPEG or WebP image"),
        "text": (data_url(b"no image at all"), "its 15 bytes begin with b'no image'"),
        "an SVG": (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "is no PNG, JPEG or WebP"),
        "no bytes": (data_url(b""), "is empty (0 bytes)"),
        "no base64": ("data:image/png;base64,!!!!", "4 characters are no base64"),
        "base64 without its end": (data_url(png)[:-1], "are no base64"),
        "text in a data: URL": ("data:text/plain,hello", "is a data: URL that is no base64"),
        "127.0.0.1": ("https://127.0.0.1/a.png", "'127.0.0.1' is no domain that the operator allows"),
        "[::1]": ("https://[::1]/a.png", "'::1' is no domain that the operator allows"),
        "169.254.169.254": ("http://169.254.169.254/latest/meta-data", "is to be fetched from"),
        "0x7f.1": ("https://0x7f.1/", "'0x7f.1' is no domain that the operator allows"),
        "file://": ("file:///etc/passwd", "is to be fetched from 'file:///etc/passwd'"),
        "a path": ("/etc/passwd", "is to be fetched from '/etc/passwd'"),
        "an empty URL": ("", "is to be fetched from ''"),
    }  # fmt: skip


#: Images that are refused, as URLs, each with words of the refusal.
BAD_IMAGES = _bad()
