"""Checkpoints of the remote-code layout: the same weights under its names, read as data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import rewrite_config
from modcore.engine import Engine, SamplingParams
from modcore.errors import CheckpointError, ModelNotServed
from modcore.vision import load_vl_model
from modcore.vision.base import VisionModel
from vision_checkpoints import (
    hf_inputs,
    hf_model,
    hf_processor,
    random_image,
    rewrite_as_remote,
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
    "qwen3, no bias, last layer but one": {
        "text": "qwen3",
        "attention_bias": False,
        "model_changes": {"vision_feature_layer": -2},
    },
    "tiles larger than the tower's": {"tile": 56},
}
IMAGES = [random_image(28, 28), random_image(90, 31, seed=1), random_image(17, 200, seed=2)]


@pytest.fixture(scope="module", params=CHECKPOINTS, ids=str)
def directories(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Path]]:
    """A checkpoint that transformers wrote, and the same as remote code would have written it."""
    changes = CHECKPOINTS[request.param]
    theirs = write_internvl(tmp_path_factory.mktemp("vision") / "model", **changes)
    ours = Path(shutil.copytree(theirs, theirs.with_name("remote")))
    rewrite_as_remote(ours, **({"force_image_size": changes["tile"]} if "tile" in changes else {}))
    yield theirs, ours


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    directory = write_internvl(tmp_path / "model")
    rewrite_as_remote(directory)
    return directory


def vision_of(engine: Engine) -> VisionModel:
    model = engine.preparer.prompts.multimodal
    assert isinstance(model, VisionModel)
    return model


@pytest.mark.parametrize("count", [1, 3])
def test_everything_equals_transformers(directories: tuple[Path, Path], count: int) -> None:
    theirs, ours = directories
    messages = [user_message("What is it?", *IMAGES[-count:])]
    reference = hf_model(theirs)
    expected = hf_inputs(hf_processor(theirs), messages)
    params = SamplingParams(max_tokens=16, temperature=0.0, ignore_eos=True)
    with Engine.from_pretrained(ours) as engine:
        inputs = vision_of(engine).preprocess(messages)
        assert inputs.input_ids == expected["input_ids"][0].tolist()
        assert torch.equal(torch.cat(inputs.pixel_values), expected["pixel_values"])
        features = torch.cat(vision_of(engine).forward(inputs.pixel_values))
        logits = engine.logits(messages)
        said = engine.generate([messages], params)[0].token_ids
    with torch.no_grad():
        theirs_seen = reference.model.get_image_features(expected["pixel_values"]).pooler_output
        torch.testing.assert_close(features, theirs_seen.flatten(0, 1), atol=1e-4, rtol=0)
        torch.testing.assert_close(logits, reference(**expected).logits[0], atol=1e-3, rtol=0)
    answer = reference.generate(**expected, max_new_tokens=16, do_sample=False)[0]
    assert said == answer[len(inputs.input_ids) :].tolist()


def test_version_1_of_pixel_shuffle_goes_down_the_columns(remote: Path) -> None:
    with Engine.from_pretrained(remote) as second:
        [pixels] = vision_of(second).preprocess([user_message("?", IMAGES[0])]).pixel_values
        [by_rows] = vision_of(second).forward([pixels])
    rewrite_config(remote, remove=["ps_version"])  # the layout's default
    with Engine.from_pretrained(remote) as first:
        [by_columns] = vision_of(first).forward([pixels])
    grid = by_rows.view(2, 2, -1)
    torch.testing.assert_close(by_columns.view(2, 2, -1), grid.transpose(0, 1))


@pytest.mark.parametrize(
    ("values", "tiles"),
    [
        ({}, 12 + 1),
        ({"use_thumbnail": False}, 12),
        ({"max_dynamic_patch": 2}, 2 + 1),
        ({"dynamic_image_size": False}, 1),
    ],
    ids=str,
)
def test_its_config_says_how_images_are_cut(
    remote: Path, values: dict[str, Any], tiles: int
) -> None:
    rewrite_config(remote, **values)
    with Engine.from_pretrained(remote) as engine:
        inputs = vision_of(engine).preprocess([user_message("?", random_image(336, 28))])
    assert [len(pixels) for pixels in inputs.pixel_values] == [tiles]


SYSTEM_2 = (
    "<|im_start|>system\n你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "  # noqa: RUF001
    "是一个有用无害的人工智能助手。<|im_end|>"
)
SYSTEM_2_5 = (
    "<|im_start|>system\n你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位"  # noqa: RUF001
    "联合开发的多模态大语言模型。<|im_end|>\n"
)


@pytest.mark.parametrize(
    ("template", "system", "end"),
    [
        ("internvl2_5", SYSTEM_2_5, "<|im_end|>\n"),
        ("internlm2-chat", SYSTEM_2, "<|im_end|>"),
        ("Hermes-2", SYSTEM_2, "<|im_end|>"),
    ],
)
def test_named_template_writes_the_prompt_when_there_is_no_chat_template(
    tmp_path: Path, template: str, system: str, end: str
) -> None:
    directory = write_internvl(tmp_path / "model")
    rewrite_as_remote(directory, template=template)
    image = "<img>" + 4 * "<IMG_CONTEXT>" + "</img>\n"
    turns = [
        user_message("what?", IMAGES[0]),
        {"role": "assistant", "content": "a fox"},
        {"role": "user", "content": "sure?"},
    ]
    with Engine.from_pretrained(directory) as engine:
        decode = engine.tokenizer.fast.decode
        asked = decode(vision_of(engine).preprocess(turns).input_ids)
        own = [{"role": "system", "content": "Be brief."}, turns[2]]
        brief = decode(vision_of(engine).preprocess(own).input_ids)
    assert asked == (
        f"{system}<|im_start|>user\n{image}what?{end}<|im_start|>assistant\na fox{end}"
        f"<|im_start|>user\nsure?{end}<|im_start|>assistant\n"
    )
    assert brief == (
        f"<|im_start|>system\nBe brief.{end}<|im_start|>user\nsure?{end}<|im_start|>assistant\n"
    )


TEXT_TEMPLATES = [
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}",
    "{%- if messages[0]['role'] == 'system' -%}{{ '<|im_start|>system\n' + messages[0]['content'] }}"
    "{{ '<|im_end|>\n' }}{%- set messages = messages[1:] -%}{%- endif -%}"
    "{%- for m in messages -%}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{%- endfor -%}"
    "{{ '<|im_start|>assistant\n' }}",
]


@pytest.mark.parametrize("template", TEXT_TEMPLATES)
def test_chat_template_for_text_alone_is_given_images_as_text(remote: Path, template: str) -> None:
    (remote / "chat_template.jinja").write_text(template)
    turns = [
        {"role": "system", "content": "Be brief."},
        user_message("what?", IMAGES[0], IMAGES[0]),
        {"role": "assistant", "content": "a fox"},
    ]
    with Engine.from_pretrained(remote) as engine:
        inputs = vision_of(engine).preprocess(turns)
        asked = engine.tokenizer.fast.decode(inputs.input_ids)
    image = "<img>" + 4 * "<IMG_CONTEXT>" + "</img>\n"
    assert len(inputs.spans) == 2
    assert asked == (
        f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{image}{image}what?<|im_end|>\n"
        "<|im_start|>assistant\na fox<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tokens_around_images_are_plain_text_when_they_are_no_special_tokens(remote: Path) -> None:
    (remote / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    file = remote / "tokenizer.json"
    values = json.loads(file.read_text())
    for token in values["added_tokens"]:
        token["special"] = token["content"] not in ("<img>", "</img>")
    file.write_text(json.dumps(values))
    model = load_vl_model(remote)
    start = model.tokenizer.fast.convert_tokens_to_ids("<img>")
    ids = model.preprocess([user_message("<img> </img>", IMAGES[0])]).input_ids
    assert ids.count(start) == 1


@pytest.mark.parametrize("name", ["phi3-chat", None, 7, ["internvl2_5"]])
def test_unknown_template_is_refused_by_name(tmp_path: Path, name: Any) -> None:
    directory = write_internvl(tmp_path / "model")
    rewrite_as_remote(directory, template="internvl2_5")
    rewrite_config(directory, template=name)
    with Engine.from_pretrained(directory) as engine, pytest.raises(CheckpointError) as refused:
        vision_of(engine).build_preprocessor()
    assert repr(name) in str(refused.value)
    assert "internvl2_5" in str(refused.value)


def test_no_code_of_the_checkpoint_runs_and_none_is_asked_to(remote: Path) -> None:
    ran = remote / "ran"
    for module in ("configuration_internvl_chat", "modeling_internvl_chat", "tokenization_own"):
        (remote / f"{module}.py").write_text(f"open({str(ran)!r}, 'w')\n")
    file = remote / "tokenizer_config.json"
    auto_map = {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": auto_map}
    file.write_text(json.dumps({**json.loads(file.read_text()), **own}))
    with Engine.from_pretrained(remote) as engine:
        assert engine.generate([[user_message("?", IMAGES[0])]], SamplingParams(max_tokens=2))
    assert not ran.exists()


def test_language_model_that_nobody_serves_is_named(remote: Path) -> None:
    config = json.loads((remote / "config.json").read_text())
    text = {**config["llm_config"], "architectures": ["InternLM2ForCausalLM"]}
    rewrite_config(remote, llm_config=text)
    with pytest.raises(ModelNotServed, match=r"text model of .* InternLM2ForCausalLM"):
        Engine.from_pretrained(remote)


def test_padding_to_squares_is_refused_by_name(remote: Path) -> None:
    rewrite_config(remote, pad2square=True)
    with pytest.raises(CheckpointError, match="pad2square"):
        Engine.from_pretrained(remote)


@pytest.mark.parametrize("remove", ["architectures", "model_type"])
def test_either_name_of_the_model_is_enough(remote: Path, remove: str) -> None:
    rewrite_config(remote, remove=[remove])
    with Engine.from_pretrained(remote) as engine:
        assert vision_of(engine).match({"model_type": "internvl_chat"})
