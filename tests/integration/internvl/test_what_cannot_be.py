"""Configs, files and requests of vision models that cannot be: each a sentence with the counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import rewrite_config, rewrite_tensors
from modcore.engine import Engine
from modcore.errors import CheckpointError, InvalidRequest
from modcore.vision.base import VisionModel
from modcore_internvl.model import InternVLForConditionalGeneration
from vision_checkpoints import random_image, user_message, write_internvl


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_internvl(tmp_path_factory.mktemp("vision") / "model")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write_internvl(tmp_path / "model")


def open_model(directory: Path, **options: Any) -> VisionModel:
    config = json.loads((directory / "config.json").read_text())
    return InternVLForConditionalGeneration(directory, config, **options)


def change(directory: Path, part: str | None = None, **values: Any) -> None:
    config = json.loads((directory / "config.json").read_text())
    rewrite_config(directory, **({part: {**config[part], **values}} if part else values))


def change_processor(directory: Path, **values: Any) -> None:
    file = directory / "processor_config.json"
    said = json.loads(file.read_text())
    said["image_processor"].update(values)
    file.write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("part", "values", "sentence"),
    [
        ("vision_config", {"hidden_size": 50}, "num_attention_heads is 4, which does not divide"),
        ("vision_config", {"hidden_size": "wide"}, "vision_config: hidden_size is 'wide'"),
        ("vision_config", {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ("vision_config", {"num_channels": 1}, "num_channels is 1; images have 3"),
        ("vision_config", {"norm_type": "batch_norm"}, "norm_type is 'batch_norm'"),
        ("vision_config", {"image_size": [28, 56]}, r"image_size is \[28, 56\]; only squares"),
        ("vision_config", {"patch_size": [7, 7, 7]}, r"patch_size is \[7, 7, 7\]; only squares"),
        ("vision_config", {"patch_size": 29}, "patch_size is 29 for images of 28 pixels"),
        (None, {"vision_config": 3}, "vision_config is 3 where an object is expected"),
        (None, {"text_config": None}, "text_config is None where an object is expected"),
        (None, {"downsample_ratio": 0.3}, "downsample_ratio is 0.3"),
        (None, {"downsample_ratio": 2.0}, "downsample_ratio is 2.0"),
        (None, {"downsample_ratio": 0.25}, "image_seq_length is 4, and a tile of 28 pixels becomes 1"),
        (None, {"vision_feature_layer": 4}, "num_hidden_layers is 3, and the features of layer 4"),
        (None, {"vision_feature_layer": -5}, "num_hidden_layers is 3, and the features of layer -5"),
        (None, {"vision_feature_layer": [-1]}, r"vision_feature_layer is \[-1\]"),
        (None, {"vision_feature_select_strategy": "full"}, "'full'"),
    ],
    ids=str,
)  # fmt: skip
def test_config_that_cannot_be_is_refused_before_anything_is_loaded(
    own: Path, part: str | None, values: dict[str, Any], sentence: str
) -> None:
    change(own, part, **values)
    with pytest.raises(CheckpointError, match=sentence):
        open_model(own)
    with pytest.raises(CheckpointError, match=sentence):
        Engine.from_pretrained(own)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"size": {"height": 35, "width": 35}}, "a tile of 35 pixels is 5 patches of 7 a side, which .* by 2"),
        ({"size": {"height": 6, "width": 6}}, "a tile of 6 pixels is 0 patches of 7"),
        ({"size": {"height": 28, "width": 56}}, "an equal height and width"),
        ({"size": {"shortest_edge": 28}}, "an equal height and width"),
        ({"size": {"height": 56, "width": 56}}, "image_seq_length is 4, and a tile of 56 pixels becomes 16"),
        ({"min_patches": 5, "max_patches": 4}, "min_patches is 5, which is more than the 4"),
        ({"max_patches": 10**9}, "max_patches is 1000000000; 4096 tiles"),
        ({"max_patches": 0}, "max_patches is 0"),
        ({"do_resize": False}, "do_resize is false"),
        ({"resample": 9}, "resample is 9"),
        ({"image_mean": [0.5, 0.5]}, r"image_mean is \[0.5, 0.5\]"),
        ({"image_std": [0.5, 0.0, 0.5]}, "image_std is 0.0"),
    ],
    ids=str,
)  # fmt: skip
def test_processor_that_cannot_be_is_refused(
    own: Path, values: dict[str, Any], sentence: str
) -> None:
    change_processor(own, **values)
    with pytest.raises(CheckpointError, match=sentence):
        open_model(own)


def drop(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[name]

    return edit


def add(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = torch.ones(3)

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (drop("vision_tower.encoder.layer.1.lambda_1"), "encoder.layer.1.lambda_1 is missing"),
        (drop("multi_modal_projector.linear_2.bias"), "projector.linear_2.bias is missing"),
        (add("vision_tower.encoder.layer.3.lambda_1"), "encoder.layer.3.lambda_1 .* is not expected"),
        (add("vision_tower.embeddings.position_embeddings"), r"has shape \[3\] where .* \[1, 17, 48\]"),
        (add("vision_tower.layernorm.weight"), "layernorm.weight .* is not expected"),
    ],
)  # fmt: skip
def test_every_tensor_of_the_vision_part_is_accounted_for(
    own: Path, edit: Callable[[dict[str, torch.Tensor]], None], sentence: str
) -> None:
    rewrite_tensors(own, edit)
    with pytest.raises(CheckpointError, match=sentence):
        open_model(own).build_model()


@pytest.mark.parametrize("name", ["audio_tower.weight", "model.vision_tower.embeddings.cls_token"])
def test_tensor_of_no_part_is_refused_by_name(own: Path, name: str) -> None:
    rewrite_tensors(own, add(name))
    with pytest.raises(CheckpointError, match=f"{name} .* is not expected: names begin with"):
        Engine.from_pretrained(own)


def test_mistyped_number_of_layers_is_told_before_it_fills_the_memory(own: Path) -> None:
    change(own, "vision_config", num_hidden_layers=10**9)
    with pytest.raises(CheckpointError, match="num_hidden_layers is 1000000000, but the files"):
        open_model(own).build_model()


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 3, 35, 35), "A tile of 35 pixels is 5 patches of 7 a side, which .* by 2"),
        ((1, 3, 28, 56), r"Pixels of shape \[1, 3, 28, 56\] are no square tiles"),
        ((1, 1, 28, 28), r"\[1, 1, 28, 28\]"),
        ((1, 3, 6, 6), "0 patches"),
    ],
)
def test_pixels_that_no_grid_fits_are_refused(
    directory: Path, shape: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        open_model(directory).forward([torch.zeros(1, 3, 28, 28), torch.zeros(shape)])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_tiles": 8}, "Image 2 of 3 becomes 9 tiles, and 8 are the most"),
        ({"max_request_tiles": 18}, "3 images become 19 tiles, and 18 are the most of a request"),
    ],
)
def test_tiles_over_the_limit_are_refused_with_the_counts(
    directory: Path, options: dict[str, int], sentence: str
) -> None:
    model = open_model(directory, **options)
    images = [random_image(*size) for size in ((28, 28), (112, 56), (56, 112))]
    with pytest.raises(InvalidRequest, match=sentence):
        model.preprocess([user_message("?", *images)])


def test_unknown_option_is_refused_with_the_one_that_is_meant(directory: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"max_tile is no option .* did you mean max_tiles\?"):
        open_model(directory, max_tile=3)


def test_weights_are_loaded_when_an_image_is_first_seen(own: Path) -> None:
    rewrite_tensors(own, drop("vision_tower.encoder.layer.1.lambda_1"))
    with Engine.from_pretrained(own) as engine:
        assert engine.generate(["the quick"])
        with pytest.raises(CheckpointError, match="lambda_1 is missing"):
            engine.generate([[user_message("?", random_image(28, 28))]])
