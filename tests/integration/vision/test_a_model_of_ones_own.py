"""The vision model of docs/vision.md, as a newcomer writes it, and what becomes of its mistakes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from checkpoints import llama_config
from image_files import chat
from modcore import SamplingParams
from modcore.errors import CheckpointError, StepFailed
from modcore.vision import VISION_MODELS, ImageSize, PromptFormat, VisionModel, load_vl_model
from vision_checkpoints import random_image, randomise, train_vision_tokenizer

PAGE = Path(__file__).parents[3] / "docs" / "vision.md"
GREEDY = SamplingParams(max_tokens=3, temperature=0.0)
SHOWN = {"type": "image", "image": random_image(30, 20)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama under names of its own, and one matrix beside it."""
    directory = tmp_path_factory.mktemp("vision") / "colours"
    tokenizer = train_vision_tokenizer()
    config = llama_config(vocab_size=len(tokenizer))
    model = LlamaForCausalLM(config)
    randomise(model, 1)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    file = directory / "model.safetensors"
    tensors = {f"llm.{name}": tensor for name, tensor in load_file(file).items()}
    tensors["colours.weight"] = torch.randn(config.hidden_size, 3, generator=torch.manual_seed(0))
    save_file(tensors, file)
    text = json.loads((directory / "config.json").read_text())
    whole = {
        "architectures": ["ColoursForConditionalGeneration"],
        "model_type": "colours",
        "text_config": text,
    }
    (directory / "config.json").write_text(json.dumps(whole))
    return directory


@pytest.fixture
def colours() -> Iterator[Any]:
    """The class on the page, registered."""
    [code] = re.findall(r"```python\n(import numpy.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "colours_of_the_page"}
    exec(code, names)
    with VISION_MODELS.overlay():
        yield VISION_MODELS.register_module()(names["ColoursForConditionalGeneration"])


def test_the_model_of_the_page_answers(checkpoint: Path, colours: Any) -> None:
    model = load_vl_model(checkpoint, with_llm=True)
    with model.engine:
        logits = model.engine.logits(chat(SHOWN, "what is it?"))
        other = model.engine.logits(chat({**SHOWN, "detail": "low"}, "what is it?"))
        assert len(logits) == len(other) + 15
        assert model.engine.generate([chat(SHOWN, "hi")], GREEDY)[0].usage.completion_tokens == 3


def test_its_features_are_what_it_computes_from_the_colours(checkpoint: Path, colours: Any) -> None:
    model = load_vl_model(checkpoint)
    inputs = model.preprocess(chat(SHOWN))
    [features] = model.forward(inputs.pixel_values)
    squares = np.asarray(SHOWN["image"].resize((4, 4)), dtype=np.float32).reshape(16, 3) / 255
    matrix = load_file(checkpoint / "model.safetensors")["colours.weight"]
    torch.testing.assert_close(features, torch.from_numpy(squares) @ matrix.T)


def test_what_it_builds_is_built_once_before_it_is_needed(checkpoint: Path, colours: Any) -> None:
    built: list[str] = []

    def counting(name: str) -> Any:
        def build(self: Any) -> None:
            built.append(name)
            getattr(colours, name)(self)

        return build

    names = ("build_preprocessor", "build_model")
    counted = type("Counted", (colours,), {name: counting(name) for name in names})
    config = json.loads((checkpoint / "config.json").read_text())
    model: VisionModel = counted(checkpoint, config)
    pixels = model.preprocess(chat(SHOWN)).pixel_values
    assert built == ["build_preprocessor"]
    threads = [threading.Thread(target=model.forward, args=(pixels,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    model.load()
    assert built == ["build_preprocessor", "build_model"]
    model.close()


def test_a_builder_that_fails_is_asked_again(checkpoint: Path, colours: Any) -> None:
    model: Any = load_vl_model(checkpoint)
    model.path = checkpoint / "elsewhere"
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            model.build_model()
    model.path = checkpoint
    model.build_model()
    assert model.matrix.shape[1] == 3


def test_features_are_kept_without_their_gradients(checkpoint: Path, colours: Any) -> None:
    class Learning(colours):  # type: ignore[misc]
        def build_model(self) -> None:
            super().build_model()
            self.matrix = torch.nn.Parameter(self.matrix)

    model: VisionModel = Learning(checkpoint, {})
    [features] = model.forward(model.preprocess(chat(SHOWN)).pixel_values)
    assert not features.requires_grad
    model.close()


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("measure", (1, 16), r"measures an image as \(1, 16\)"),
        ("measure", ImageSize(tiles=1, tokens=0), "of one or more tiles and tokens"),
        ("forward", None, "made None"),
        ("forward", [], r"made \[\]"),
        ("forward", [np.zeros((16, 64))], "ndarray"),
        ("forward", [torch.zeros(1, 16, 64)], r"shape \[1, 16, 64\]"),
        ("forward", [torch.zeros(16, 65)], r"\[16, 65\].*64 wide"),
    ],
)
def test_what_it_should_not_have_made_is_named(
    checkpoint: Path, colours: Any, name: str, wrong: object, words: str
) -> None:
    colours_class = type("Wrong", (colours,), {name: lambda self, *args: wrong})
    VISION_MODELS.register_module(name=colours.__name__, force=True)(colours_class)
    model = load_vl_model(checkpoint, with_llm=True)
    with model.engine, pytest.raises(StepFailed, match=words) as failure:
        model.engine.generate([chat(SHOWN)], GREEDY)
    assert "update the package" in str(failure.value)


@pytest.mark.parametrize("text", ["<img></img>", "<IMG_CONTEXT><IMG_CONTEXT>"])
def test_text_for_an_image_without_its_token_once_is_named(
    checkpoint: Path, colours: Any, text: str
) -> None:
    colours.prompt_format = PromptFormat(
        placeholder="<IMG_CONTEXT>", text=text, token="<IMG_CONTEXT>"
    )
    with pytest.raises(CheckpointError, match=r"has to hold it once"):
        load_vl_model(checkpoint).preprocess(chat(SHOWN))
