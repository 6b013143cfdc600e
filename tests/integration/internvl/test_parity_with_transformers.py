"""modcore-internvl computes what transformers computes, on checkpoints that transformers wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from modcore.engine import Engine, SamplingParams
from modcore.vision.base import VisionModel
from vision_checkpoints import (
    hf_inputs,
    hf_model,
    hf_processor,
    random_image,
    rename_as_modules,
    user_message,
    write_internvl,
)

CHECKPOINTS: dict[str, dict[str, Any]] = {
    "qwen2, layer norm": {},
    "llama, RMS norm, norms of q and k": {
        "text": "llama",
        "norm_type": "rms_norm",
        "use_qk_norm": True,
    },
    "qwen3, norms of q and k": {"text": "qwen3", "use_qk_norm": True, "attention_bias": False},
    "56 pixels, patches of 14": {"image_size": 56, "patch_size": 14, "norm_type": "rms_norm"},
    "tiles larger than the tower's": {"tile": 56},
    "tiles smaller than the tower's": {"image_size": 56, "tile": 28},
    "last layer but one": {"model_changes": {"vision_feature_layer": -2}},
    "second layer": {"model_changes": {"vision_feature_layer": 2}},
    "final norm": {"use_mean_pooling": False},
    "final norm that is not reached": {
        "use_mean_pooling": False,
        "model_changes": {"vision_feature_layer": -2},
    },
    "no positions": {"use_absolute_position_embeddings": False},
    "a mask token": {"use_mask_token": True},
    "patches that do not fill the tile": {"image_size": 30, "patch_size": 7},
    "four patches a side become one token": {
        "image_size": 56,
        "patch_size": 7,
        "model_changes": {"downsample_ratio": 0.25},
    },
    "as many tokens as patches": {"model_changes": {"downsample_ratio": 1.0}},
    "tied head": {"model_changes": {"tie_word_embeddings": True}},
    "head tied in the whole alone": {
        "model_changes": {"tie_word_embeddings": True},
        "text_changes": {"tie_word_embeddings": False},
    },
    "head tied in the part alone": {"text_changes": {"tie_word_embeddings": True}},
    "other activations": {
        "hidden_act": "gelu_pytorch_tanh",
        "model_changes": {"projector_hidden_act": "silu"},
    },
}

IMAGES = [random_image(28, 28), random_image(90, 31, seed=1), random_image(17, 200, seed=2)]
MESSAGES = {
    "one image": [user_message("What is it?", IMAGES[1])],
    "three images": [user_message("naïve café, 東京?", *IMAGES)],
    "several turns": [
        {"role": "system", "content": "Be brief."},
        user_message("And this?", IMAGES[0]),
        {"role": "assistant", "content": "A fox."},
        user_message("Sure?", IMAGES[2]),
    ],
    "text alone": [{"role": "user", "content": "the quick brown fox"}],
}


class Pair(NamedTuple):
    """An engine, its vision model, and the reference."""

    engine: Engine
    model: VisionModel
    reference: Any
    processor: Any


@pytest.fixture(scope="module")
def make_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    def make(edit: Callable[[Path], None] | None = None, **changes: Any) -> Pair:
        directory = write_internvl(tmp_path_factory.mktemp("vision") / "model", **changes)
        reference, processor = hf_model(directory), hf_processor(directory)
        if edit:
            edit(directory)
        engine = Engine.from_pretrained(directory, dtype="float32")
        model = engine.preparer.prompts.multimodal
        assert isinstance(model, VisionModel)
        return Pair(engine, model, reference, processor)

    return make


@pytest.fixture(scope="module", params=CHECKPOINTS, ids=str)
def pair(request: pytest.FixtureRequest, make_pair: Callable[..., Pair]) -> Iterator[Pair]:
    made = make_pair(**CHECKPOINTS[request.param])
    yield made
    made.engine.close()


def expect_equal(pair: Pair, messages: list[dict[str, Any]]) -> None:
    """Ids and pixels equal, features within 1e-4, logits within 1e-3, greedy answers the same."""
    expected = hf_inputs(pair.processor, messages)
    inputs = pair.model.preprocess(messages)
    assert inputs.input_ids == expected["input_ids"][0].tolist()
    if inputs.pixel_values:
        assert torch.equal(torch.cat(inputs.pixel_values), expected["pixel_values"])
        with torch.no_grad():
            features = pair.reference.model.get_image_features(expected["pixel_values"])
        ours = torch.cat(pair.model.forward(inputs.pixel_values))
        torch.testing.assert_close(ours, features.pooler_output.flatten(0, 1), atol=1e-4, rtol=0)
    with torch.no_grad():
        logits = pair.reference(**expected).logits[0]
    torch.testing.assert_close(pair.engine.logits(messages), logits, atol=1e-3, rtol=0)
    answer = pair.reference.generate(**expected, max_new_tokens=16, do_sample=False)[0]
    params = SamplingParams(max_tokens=16, temperature=0.0, ignore_eos=True)
    ours_said = pair.engine.generate([messages], params)[0].token_ids
    assert ours_said == answer[len(inputs.input_ids) :].tolist()


@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
def test_ids_pixels_features_logits_and_greedy_answers_equal_transformers(
    pair: Pair, messages: list[dict[str, Any]]
) -> None:
    expect_equal(pair, messages)


def test_spans_are_where_the_tokens_of_each_image_stand(pair: Pair) -> None:
    inputs = pair.model.preprocess(MESSAGES["several turns"])
    token = inputs.input_ids[inputs.spans[0][0]]
    inside = [place for start, stop in inputs.spans for place in range(start, stop)]
    assert inside == [place for place, each in enumerate(inputs.input_ids) if each == token]
    features = pair.model.forward(inputs.pixel_values)
    assert [stop - start for start, stop in inputs.spans] == [len(rows) for rows in features]


def test_weights_under_the_names_of_the_modules_are_the_same_model(
    make_pair: Callable[..., Pair],
) -> None:
    for changes in ({}, {"model_changes": {"tie_word_embeddings": True}}):
        made = make_pair(rename_as_modules, **changes)
        expect_equal(made, MESSAGES["three images"])


@pytest.mark.parametrize("fewest", [1, 3])
@pytest.mark.parametrize("most", [1, 2, 4, 6, 12])
def test_every_grid_is_cut_as_transformers_cuts_it(
    make_pair: Callable[..., Pair], fewest: int, most: int
) -> None:
    if fewest > most:
        return
    made = make_pair(processor={"min_patches": fewest, "max_patches": most})
    sizes = [
        (2, 2),
        (28, 28),
        (56, 28),
        (28, 56),
        (84, 56),
        (100, 33),
        (20, 240),
        (241, 19),
        (57, 57),
    ]
    for number, size in enumerate(sizes):
        messages = [user_message("?", random_image(*size, seed=number))]
        expected = hf_inputs(made.processor, messages)
        inputs = made.model.preprocess(messages)
        assert inputs.input_ids == expected["input_ids"][0].tolist()
        assert torch.equal(inputs.pixel_values[0], expected["pixel_values"])


def test_features_of_1_to_12_tiles_equal_transformers(make_pair: Callable[..., Pair]) -> None:
    made = make_pair(use_qk_norm=True)
    for count in range(1, 13):
        messages = [user_message("?", random_image(28 * count, 28, seed=count))]
        [pixels] = made.model.preprocess(messages).pixel_values
        assert len(pixels) == count + (count > 1)
        expect_equal(made, messages)


@pytest.mark.parametrize(
    "settings",
    [
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.7], "rescale_factor": 1 / 127.5},
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": 120.0, "image_std": 55.0},
        {"resample": 2},
        {"crop_to_patches": False},
    ],
    ids=str,
)
def test_every_setting_of_the_processor_is_followed(
    make_pair: Callable[..., Pair], settings: dict[str, Any]
) -> None:
    made = make_pair(processor=settings)
    messages = [user_message("?", random_image(70, 40))]
    expected = hf_inputs(made.processor, messages)["pixel_values"]
    assert torch.equal(made.model.preprocess(messages).pixel_values[0], expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_image_of_any_mode_is_read_as_transformers_reads_it(
    make_pair: Callable[..., Pair], mode: str
) -> None:
    made = make_pair()
    image = random_image(40, 40).convert("L" if mode in ("LA", "LAB") else "RGB")
    if mode in ("LA", "RGBA"):
        image.putalpha(random_image(40, 40, seed=1).convert("L"))
    elif mode == "LAB":
        image = Image.frombytes("LAB", (40, 40), random_image(40, 40).tobytes())
    elif mode == "PA":
        image = image.convert("P").convert("PA")
    else:
        image = image.convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    messages = [user_message("?", image)]
    expected = hf_inputs(made.processor, messages)["pixel_values"]
    assert torch.equal(made.model.preprocess(messages).pixel_values[0], expected)


def test_low_detail_is_one_tile_and_auto_is_high(make_pair: Callable[..., Pair]) -> None:
    model = make_pair().model
    tiles = []
    for detail in ("low", "high", "auto"):
        part = {"type": "image", "image": random_image(112, 84), "detail": detail}
        [pixels] = model.preprocess([{"role": "user", "content": [part]}]).pixel_values
        tiles.append(len(pixels))
    assert tiles == [1, 13, 13]


def test_threads_may_compute_tiles_of_several_sizes_at_once(
    make_pair: Callable[..., Pair],
) -> None:
    pair = make_pair()
    tiles = [torch.rand(1, 3, side, side) for side in (14, 28, 42, 56)]
    alone = [pair.model.forward([each])[0] for each in tiles]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with pair.engine, ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda n: pair.model.forward([tiles[n % 4]])[0], range(1600)))
    finally:
        sys.setswitchinterval(interval)
    for place, features in enumerate(together):
        torch.testing.assert_close(features, alone[place % 4])


def test_features_in_bfloat16_are_as_near_as_those_of_transformers(
    tmp_path: Path,
) -> None:
    directory = write_internvl(tmp_path / "model", dtype=torch.bfloat16, num_hidden_layers=4)
    exact, theirs = hf_model(directory), hf_model(directory, torch.bfloat16)
    with Engine.from_pretrained(directory) as engine:
        model = engine.preparer.prompts.multimodal
        assert isinstance(model, VisionModel)
        [pixels] = model.preprocess([user_message("?", random_image(90, 31))]).pixel_values
        [ours] = model.forward([pixels])
    assert ours.dtype == torch.bfloat16
    with torch.no_grad():
        expected = exact.model.get_image_features(pixels).pooler_output.flatten(0, 1)
        other = theirs.model.get_image_features(pixels.bfloat16()).pooler_output.flatten(0, 1)
    assert (ours - expected).abs().mean() <= 1.2 * (other - expected).abs().mean()


def test_text_requests_beside_requests_with_images_are_answered_as_alone(
    make_pair: Callable[..., Pair],
) -> None:
    made = make_pair()
    params = SamplingParams(max_tokens=24, temperature=0.0, ignore_eos=True)
    prompts = [*MESSAGES.values(), [5, 9, 30, 31]]
    alone = [made.engine.generate([prompt], params)[0].token_ids for prompt in prompts]
    together = [each.token_ids for each in made.engine.generate(prompts, params)]
    assert together == alone
