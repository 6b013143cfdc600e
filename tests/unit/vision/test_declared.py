"""What files say of themselves before their pixels: sizes as Pillow finds them, parts counted before it reads one."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from image_files import encoded, picture, png_chunk
from modcore.vision.declared import LENGTHLESS, MOST_PARTS, declared
from modcore.vision.images import BadImage, decode, read_header
from modcore.vision.options import VisionOptions
from vision_checkpoints import random_image

PNG, JPEG = picture(30, 20), picture(30, 20, "JPEG")
INFLATED = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(900_000), 9))


def jpeg_with(middle: bytes) -> bytes:
    return JPEG[:2] + middle + JPEG[2:]


def png_with(middle: bytes) -> bytes:
    return PNG[:33] + middle + PNG[33:]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@given(width=st.integers(2, 300), height=st.integers(2, 300), options=st.sampled_from(
    [{}, {"progressive": True}, {"lossless": True}, {"exif": b"Exif\0\0" + bytes(200)}, {"icc_profile": bytes(70_000)}]
))  # fmt: skip
def test_sizes_are_those_of_the_image(
    format: str, width: int, height: int, options: dict[str, object]
) -> None:
    data = encoded(random_image(width, height), format, **options)
    assert declared(format, data).size == (width, height)


@given(st.binary(max_size=300), st.sampled_from(["PNG", "JPEG", "WEBP"]))
def test_any_bytes_have_an_end(noise: bytes, format: str) -> None:
    declared(format, {"PNG": PNG[:8], "JPEG": JPEG[:3], "WEBP": b"RIFF1234WEBP"}[format] + noise)


def test_segments_are_walked_as_pillow_walks_them() -> None:
    markers = JpegImagePlugin.MARKER
    assert {marker & 0xFF for marker, each in markers.items() if each[2] is None} == LENGTHLESS


@pytest.mark.parametrize(
    "data",
    [
        jpeg_with(b"\xff\xe4\x00\x02" * 400),
        jpeg_with(b"\xff\xe1\xff\xff" + b"\xff\xda" + bytes(65531)),
        jpeg_with(b"\xff\xfe\x00\x02" + b"\xff" * 5000),
        jpeg_with(b"\xff\xfe\x00\x02" + bytes(5000)),
        png_with(png_chunk(b"tEXt", b"a\0b") * 400),
    ],
)
def test_much_before_the_pixels_may_be_there(data: bytes) -> None:
    header = read_header(data, VisionOptions())
    assert (header.width, header.height) == (30, 20)
    decode(data, header)


@pytest.mark.parametrize(
    "data",
    [
        jpeg_with(b"\xff\xe4\x00\x02" * 1_000_000),
        jpeg_with(b"\xff" * 4_000_000),
        jpeg_with(b"\xff\xfe\x00\x02" + bytes(4_000_000)),
        jpeg_with(b"\xff\xd0" * 2_000_000),
        png_with(png_chunk(b"abCd", b"") * 300_000),
        png_with(INFLATED * 3000),
    ],
)
def test_endless_headers_are_refused_at_once_and_cost_nothing(data: bytes) -> None:
    began = time.process_time()
    tracemalloc.start()
    with pytest.raises(BadImage, match=f"more than {MOST_PARTS} parts before its pixels"):
        read_header(data, VisionOptions())
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert time.process_time() - began < 1


def test_a_jpeg_beyond_what_pillow_opens_is_refused_with_its_pixels() -> None:
    at = JPEG.index(b"\xff\xc0") + 5
    huge = JPEG[:at] + struct.pack(">HH", 65000, 65000) + JPEG[at + 4 :]
    with pytest.raises(BadImage, match="is 65000 x 65000 = 4225000000 pixels, and 16000000 are"):
        read_header(huge, VisionOptions())


def test_a_png_that_begins_otherwise_is_not_refused_for_a_size_that_it_does_not_have() -> None:
    apple = PNG[:8] + png_chunk(b"CgBI", bytes(4)) + PNG[8:]
    assert declared("PNG", apple).size is None
    with Image.open(io.BytesIO(apple)) as image:
        assert read_header(apple, VisionOptions()).width == image.width
