"""Encoded images are looked at before they are decoded, and decoded as transformers would."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from transformers.image_transforms import convert_to_rgb

from image_files import animation, encoded, flat_png, picture, webp_header
from modcore.vision import images
from modcore.vision.images import BadImage, decode, read_header, to_rgb
from modcore.vision.options import VisionOptions
from vision_checkpoints import random_image

OPTIONS = VisionOptions()


def opened(data: bytes, **limits: Any) -> Image.Image:
    return decode(data, read_header(data, VisionOptions(**limits)))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_are_read_whatever_their_mode(format: str) -> None:
    for mode in ("RGB", "L", "RGBA") if format != "JPEG" else ("RGB", "L", "CMYK"):
        data = encoded(random_image(40, 30).convert(mode), format)
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(convert_to_rgb(image))
        assert np.array_equal(np.asarray(opened(data)), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_modes_become_rgb_as_in_transformers(mode: str) -> None:
    image = random_image(9, 7).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.arange(63, dtype=np.uint16).reshape(7, 9) * 1000)
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(convert_to_rgb(image)))


def test_what_is_transparent_shows_white() -> None:
    image = random_image(9, 7)
    image.putalpha(Image.linear_gradient("L").resize((9, 7)))
    palette = random_image(9, 7).quantize(8)
    palette.info["transparency"] = 3
    for each in (image, palette):
        assert np.array_equal(np.asarray(to_rgb(each)), np.asarray(convert_to_rgb(each)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_files_are_turned_as_their_exif_says(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(random_image(40, 30), format, exif=exif)
    header = read_header(data, OPTIONS)
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image)
    assert (header.width, header.height) == expected.size
    assert np.array_equal(np.asarray(decode(data, header)), np.asarray(expected.convert("RGB")))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_turns_nothing() -> None:
    data = encoded(random_image(40, 30), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert opened(data).size == (40, 30)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (flat_png(12000, 12000), "is 12000 x 12000 = 144000000 pixels, and 16000000 are the most"),
        (webp_header(16384, 16384), "is 16384 x 16384 = 268435456 pixels, and 16000000 are the"),
        (picture(5000, 4000, "JPEG"), "is 5000 x 4000 = 20000000 pixels, and 16000000 are the most"),
        (picture(2, 1), "is 2 x 1 pixels, and 2 x 2 are the least"),
        (animation("PNG", 4), "has 4 frames, and 1 is read"),
        (animation("WEBP", 2), "has 2 frames, and 1 is read"),
        (b"\xff\xd8\xff garbage", "header of its 11 bytes (JPEG) is damaged"),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_before_anything_large_is_allocated(
    data: bytes, words: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadImage, match=r"^The image ") as refusal:
            read_header(data, OPTIONS)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + 500_000
    finally:
        tracemalloc.stop()
    assert words in str(refusal.value)
    assert "0x" not in str(refusal.value)  # no addresses of memory


def test_an_enormous_image_costs_no_memory(resident_growth: Any) -> None:
    data = flat_png(12000, 12000)
    assert len(data) < 20_000

    def refused() -> None:
        for bad in (data, webp_header(16383, 16383)):
            with pytest.raises(BadImage):
                read_header(bad, OPTIONS)

    assert resident_growth(refused) < 5_000_000


def test_limits_are_the_operator_s() -> None:
    data = picture(30, 20)
    assert opened(data, max_image_pixels=600).size == (30, 20)
    with pytest.raises(BadImage, match="= 600 pixels, and 599 are the most"):
        opened(data, max_image_pixels=599)
    with pytest.raises(BadImage, match=f"has {len(data)} bytes, and {len(data) - 1} are the most"):
        opened(data, max_image_bytes=len(data) - 1)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@given(st.floats(0, 0.97))
def test_a_file_that_ends_early_is_refused_in_words(format: str, share: float) -> None:
    data = picture(60, 50, format)
    cut = data[: int(len(data) * share)]
    with pytest.raises(BadImage, match=r"ends early|is empty|is no PNG, JPEG or WebP"):
        opened(cut)


@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "WEBP"]), st.integers(0, 3000))
def test_damaged_bytes_are_an_image_or_a_refusal(noise: bytes, format: str, place: int) -> None:
    data = picture(30, 20, format)
    damaged = data[: place % len(data)] + noise + data[place % len(data) + len(noise) :]
    try:
        image = opened(damaged)
    except BadImage:
        return
    assert image.mode == "RGB"


def test_decoding_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DECODING_SECONDS", -1.0)
    for kind in ("PNG", "JPEG"):
        with pytest.raises(BadImage, match="was not decoded within"):
            opened(picture(300, 300, kind))


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = encoded(random_image(64, 64), "JPEG", progressive=True)
    assert opened(data).size == (64, 64)
    start = data.rindex(b"\xff\xda")
    with pytest.raises(BadImage, match=r"is a JPEG of 3\d\d scans, and 256 are the most"):
        opened(data[:start] + data[start:-2] * 300 + data[-2:])


@pytest.fixture
def resident_growth() -> Iterator[Any]:
    """How many bytes the process grows by at most while a function runs."""

    def field(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024

    def grows(function: Any) -> int:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = field("VmRSS")
        function()
        return field("VmHWM") - before

    yield grows
