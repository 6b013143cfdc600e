"""Where images come from: URLs, files, bytes, PIL images; and the parts of messages that hold them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from image_files import BAD_IMAGES, animation, chat, data_url, picture, url_part
from modcore.errors import InvalidRequest
from modcore.vision.images import BadImage
from modcore.vision.options import VisionOptions
from modcore.vision.parts import split_messages
from modcore.vision.sources import SeenImage, see_images, verify_count
from vision_checkpoints import random_image

OPTIONS = VisionOptions()


def see(*parts: dict[str, Any] | str) -> list[SeenImage]:
    return see_images(split_messages(chat(*parts))[1], OPTIONS)


def test_parts_are_taken_out_in_order_and_marked(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(picture(12, 10, "JPEG"))
    messages = [
        {"role": "system", "content": "be brief"},
        *chat("one", url_part(data_url(picture(8, 6)), detail="low"), "two"),
        *chat({"type": "image", "image": file}, {"type": "image", "image": random_image(5, 4)}),
        *chat({"type": "image", "image": picture(3, 2), "detail": "auto"}),
    ]
    plain, parts = split_messages(messages)
    assert plain[1]["content"] == [
        {"type": "text", "text": "one"},
        {"type": "image"},
        {"type": "text", "text": "two"},
    ]
    assert [part.detail for part in parts] == ["low", "high", "high", "high"]
    sizes = [(image.width, image.height) for image in see_images(parts, OPTIONS)]
    assert sizes == [(8, 6), (12, 10), (5, 4), (3, 2)]


@pytest.mark.parametrize("label", ["image/png", "IMAGE/PNG", "", "image/png;charset=x"])
def test_labels_may_be_written_in_many_ways(label: str) -> None:
    [image] = see(url_part(data_url(picture(), label)))
    assert image.open().size == (28, 28)


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused_with_their_number(name: str) -> None:
    url, words = BAD_IMAGES[name]
    good = url_part(data_url(picture()))
    with pytest.raises(BadImage) as refusal:
        [image.open() for image in see(good, url_part(url))]
    assert words in str(refusal.value)
    if "ends early" not in words:  # what is found only by decoding is numbered by who decodes
        assert str(refusal.value).startswith("Image 2 of 2 ")
    assert refusal.value.param == "messages"


def test_what_is_too_long_is_refused_before_it_is_decoded() -> None:
    url = "data:image/png;base64," + "A" * 40_000_000
    with pytest.raises(BadImage, match="has 30000000 bytes, and 20000000 are the most"):
        see(url_part(url))


def test_paths_are_files_and_urls_are_never_paths(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(picture())
    assert see({"type": "image", "image": str(file)})[0].width == 28
    with pytest.raises(BadImage, match="is to be fetched from"):
        see(url_part(str(file)))
    with pytest.raises(BadImage, match="there is no file"):
        see({"type": "image", "image": tmp_path / "none.png"})
    with pytest.raises(BadImage, match="File name too long"):
        see({"type": "image", "image": "a" * 5000})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadImage, match="there is no file"):
        see({"type": "image", "image": tmp_path / "pipe"})
    large = tmp_path / "large.png"
    with large.open("wb") as stream:
        stream.truncate(30_000_000)
    with pytest.raises(BadImage, match="has 30000000 bytes"):
        see({"type": "image", "image": large})


def test_pil_images_are_bounded_too(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="is 5000 x 5000 = 25000000 pixels"):
        see({"type": "image", "image": Image.new("1", (5000, 5000))})
    (tmp_path / "a.png").write_bytes(animation("PNG"))
    with Image.open(tmp_path / "a.png") as moving, pytest.raises(BadImage, match="has 3 frames"):
        see({"type": "image", "image": moving})
    (tmp_path / "b.png").write_bytes(picture(50, 50)[:-2000])
    with Image.open(tmp_path / "b.png") as cut, pytest.raises(BadImage, match="ends early"):
        see({"type": "image", "image": cut})


def test_digests_tell_images_apart() -> None:
    pixels = [random_image(8, 6, 0), random_image(6, 8, 0), random_image(8, 6, 1)]
    shown = [{"type": "image", "image": each} for each in [*pixels, pixels[0].copy()]]
    digests = [image.digest for image in see(*shown)]
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image"}, "An image part holds None"),
        ({"type": "image", "image": 7}, "An image part holds 7"),
        ({"type": "image_url"}, "An image part holds None"),
        ({"type": "image_url", "image_url": {"detail": "low"}}, "An image part holds None"),
        (url_part("data:,", detail="huge"), "detail is 'huge'; it has to be one of low, high, auto"),
        (url_part("data:,", detail=3), "detail is 3"),
        ({"type": "video"}, "of the type 'video'"),
        ({"text": "a"}, "of the type None"),
        ({"type": "text", "text": 3}, "holds the text 3, which is none"),
        ("a", "of the type 'a'"),
    ],
)  # fmt: skip
def test_parts_that_are_neither_text_nor_image_are_refused(part: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        split_messages([{"role": "user", "content": [part]}])
    assert words in str(refusal.value)


def test_a_request_has_no_more_images_than_tiles() -> None:
    verify_count(256, OPTIONS)
    with pytest.raises(InvalidRequest, match="hold 300 images, and a request has 256 tiles"):
        verify_count(300, OPTIONS)
    verify_count(300, VisionOptions(max_request_tiles=None))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tile": 3}, "did you mean max_tiles?"),
        ({"max_tiles": 0}, "max_tiles is 0; it has to be a whole number of at least 1"),
        ({"max_image_pixels": None}, "max_image_pixels is None"),
        ({"max_image_pixels": 10**9}, "a whole number of 4 to 89478485"),
        ({"max_image_bytes": True}, "max_image_bytes is True"),
        ({"allow_media_domain": ["https://a.b"]}, "does not name domains"),
        ({"allow_media_domain": ["*.a.b"]}, "does not name domains"),
        ({"allow_media_domain": 3}, "does not name domains"),
        ({"allow_media_domain": ["a..b"]}, "does not name domains"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        VisionOptions.read(options)
    assert words in str(refusal.value)
    assert refusal.value.param


def test_domains_are_names_in_any_case() -> None:
    options = VisionOptions.read({"allow_media_domain": ["Images.Example.org.", "Bücher.example"]})
    assert options.allow_media_domain == ("images.example.org", "xn--bcher-kva.example")


@pytest.mark.parametrize("messages", ["hi", {"role": "user", "content": "hi"}, [1], ["hi"]])
def test_what_are_no_messages_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidRequest, match="is no list of messages; give"):
        split_messages(messages)


@pytest.mark.parametrize("url", ["data:image/png;base64,AA", "HTTPS://a.b/c.png", "http://a"])
def test_a_url_where_a_path_is_expected_is_told_its_place(url: str) -> None:
    with pytest.raises(BadImage, match=r"the URL .* where a path is expected; .*image_url"):
        see({"type": "image", "image": url})


def test_a_closed_image_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    with Image.open(tmp_path / "a.png") as image:
        part = {"type": "image", "image": image}
    with pytest.raises(BadImage, match=r"\(28 x 28, mode RGB\) .* its file has been closed"):
        see(part)


def test_base64_with_line_breaks_is_told_what_is_wrong() -> None:
    url = data_url(picture())
    with pytest.raises(BadImage, match="without line breaks"):
        see(url_part(url[:80] + "\n" + url[80:]))
