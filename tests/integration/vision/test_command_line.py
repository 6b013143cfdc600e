"""`modcore generate --image`, as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from image_files import animation, encoded, flat_png, picture
from modcore import SamplingParams
from modcore.cli.images import conversation, verify_files
from modcore.errors import InvalidRequest
from modcore.vision import VisionModel
from vision_checkpoints import random_image

GREEDY = ["--max-tokens", "6", "--temperature", "0", "--dtype", "float32"]


def generate(checkpoint: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modcore", "generate", str(checkpoint), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
    )


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = []
    for place, (kind, size) in enumerate([("PNG", (70, 40)), ("JPEG", (28, 28))]):
        file = tmp_path / f"{place}.{kind.lower()}"
        file.write_bytes(picture(*size, kind, seed=place))
        names.append(str(file))
    return names


def test_images_come_first_in_order(
    vision_checkpoint: Path, model: VisionModel, files: list[str]
) -> None:
    words = ["--prompt", "what are they?", "--image", files[0], "--image", files[1]]
    done = generate(vision_checkpoint, *words, *GREEDY, "--json")
    assert done.returncode == 0, done.stderr
    shown: list[Any] = [{"type": "image", "image": file} for file in files]
    message = {"role": "user", "content": [*shown, {"type": "text", "text": "what are they?"}]}
    params = SamplingParams(max_tokens=6, temperature=0.0, prefix_cache=False)
    assert json.loads(done.stdout) == model.engine.generate([[message]], params)[0].to_json()


def test_low_detail_is_fewer_tokens(vision_checkpoint: Path, files: list[str]) -> None:
    def prompt_tokens(*words: str) -> int:
        done = generate(
            vision_checkpoint, "--prompt", "?", "--image", files[0], *words, *GREEDY, "--json"
        )
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["usage"]["prompt_tokens"])

    assert (
        prompt_tokens("--image-detail", "low")
        < prompt_tokens()
        == prompt_tokens("--image-detail", "high")
    )


def test_the_prompt_may_place_them() -> None:
    [message] = conversation("a <image> b <image>", ["x.png", "y.png"], "auto")
    kinds = [part.get("text", part.get("image")) for part in message["content"]]
    assert kinds == ["a ", Path("x.png"), " b ", Path("y.png")]


@pytest.mark.parametrize(("prompt", "images"), [("<image><image>", 1), ("<image>", 2)])
def test_other_numbers_than_places_are_refused_with_counts(prompt: str, images: int) -> None:
    with pytest.raises(InvalidRequest, match=f"places {prompt.count('<')} images .* {images} are"):
        conversation(prompt, ["a.png"] * images, "auto")


def test_a_placed_image_that_is_not_given_is_refused(vision_checkpoint: Path) -> None:
    done = generate(vision_checkpoint, "--prompt", "<image> what?", *GREEDY)
    assert done.returncode == 2
    assert "--image: the prompt places 1 images (<image>) and 0 are given" in done.stderr


def test_bad_files_are_refused_in_a_sentence(vision_checkpoint: Path, tmp_path: Path) -> None:
    cases = {
        "cut.png": (picture()[:900], "damaged or ends early"),
        "moving.png": (animation("PNG"), "has 3 frames, and 1 is read"),
        "one.png": (picture(1, 1), "is 1 x 1 pixels"),
        "enormous.png": (flat_png(12000, 12000), "is 12000 x 12000 = 144000000 pixels"),
        "gif.png": (encoded(random_image(8, 8), "GIF"), "is no PNG, JPEG or WebP image"),
        "text.png": (b"hello", "is no PNG, JPEG or WebP image"),
    }
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        done = generate(
            vision_checkpoint, "--prompt", "?", "--image", str(tmp_path / name), *GREEDY
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: --image: Image 1 of 1 ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    done = generate(tmp_path, "--prompt", "?", "--image", str(tmp_path / "none.png"))
    assert done.returncode == 2
    assert "error: --image: there is no file" in done.stderr


def test_a_path_that_cannot_be_one_is_refused_in_a_sentence() -> None:
    with pytest.raises(InvalidRequest, match="File name too long; check the path"):
        verify_files(["a" * 5000])


def test_an_image_to_a_text_model_is_refused(text_checkpoint: Path, files: list[str]) -> None:
    done = generate(text_checkpoint, "--prompt", "?", "--image", files[0])
    assert done.returncode == 2
    assert f"error: --image: {text_checkpoint} takes text only" in done.stderr
    done = generate(text_checkpoint, "--prompt", "?", "--max-tiles", "3")
    assert done.returncode == 2
    assert "error: --max-tiles: " in done.stderr


def test_limits_are_options(vision_checkpoint: Path, files: list[str]) -> None:
    words = ["--prompt", "?", "--image", files[0], *GREEDY]
    done = generate(vision_checkpoint, *words, "--max-tiles", "1")
    assert done.returncode == 2
    assert "tiles, and 1 are the most" in done.stderr
    done = generate(vision_checkpoint, *words, "--max-tiles", "0")
    assert "error: --max-tiles: max_tiles is 0" in done.stderr
