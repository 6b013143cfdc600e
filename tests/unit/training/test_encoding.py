"""Encoding: the prompt as the engine reads it, the response behind it, the loss on the response."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from modcore.engine.prompts import PromptReader
from modcore.errors import CheckpointError, InvalidRequest
from modcore.training.dataset import Example
from modcore.training.encoding import IGNORED, Encoder
from modcore.training.finetune import collate

ROW = {"prompt": "how many plugins?", "response": "a brown fox"}


def with_template(source: Path, directory: Path, template: str | None) -> Path:
    shutil.copytree(source, directory)
    (directory / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    return directory


def encoded(directory: Path, row: dict[str, Any]) -> tuple[str, str]:
    """The texts of what is given and of what is learnt."""
    encoder = Encoder(directory)
    example = encoder.encode(Example.from_row(row, "row 1"))
    assert example.labels[: example.start] == [IGNORED] * example.start
    assert example.labels[example.start :] == example.input_ids[example.start :]
    ids = example.input_ids
    return encoder.tokenizer.decode(ids[: example.start]), encoder.tokenizer.decode(
        ids[example.start :]
    )


def test_a_prompt_is_the_users_message_where_there_is_a_chat_template(
    text_checkpoint: Path,
) -> None:
    given, learnt = encoded(text_checkpoint, ROW)
    assert given == "<|turn|>user: how many plugins?<|end|>\n<|turn|>assistant: "
    assert learnt == "a brown fox<|end|></s>"


def test_of_messages_the_last_is_learnt(text_checkpoint: Path) -> None:
    turns = [
        ("system", "quick"),
        ("user", "how?"),
        ("assistant", "so"),
        ("user", "and?"),
        ("assistant", "lazy"),
    ]
    given, learnt = encoded(
        text_checkpoint, {"messages": [{"role": r, "content": c} for r, c in turns]}
    )
    assert given.endswith(
        "<|turn|>assistant: so<|end|>\n<|turn|>user: and?<|end|>\n<|turn|>assistant: "
    )
    assert learnt == "lazy<|end|></s>"


def test_without_a_chat_template_prompt_and_response_are_put_together_as_they_are(
    text_checkpoint: Path, tmp_path: Path
) -> None:
    directory = with_template(text_checkpoint, tmp_path / "plain", None)
    assert encoded(directory, ROW) == ("how many plugins?", "a brown fox</s>")


def test_the_prompt_has_the_ids_that_the_engine_gives_it(
    text_checkpoint: Path, tmp_path: Path
) -> None:
    plain = with_template(text_checkpoint, tmp_path / "plain", None)
    message = {"role": "user", "content": ROW["prompt"]}
    for directory, prompt in ((text_checkpoint, [message]), (plain, ROW["prompt"])):
        example = Encoder(directory).encode(Example.from_row(ROW, "row 1"))
        assert example.input_ids[: example.start] == PromptReader(directory).encode(prompt)


def test_a_template_that_ends_the_turn_with_the_end_token_gets_no_second_one(
    text_checkpoint: Path, tmp_path: Path
) -> None:
    template = "{% for m in messages %}{{ m['content'] + '</s>\n' }}{% endfor %}"
    directory = with_template(text_checkpoint, tmp_path / "chat", template)
    assert encoded(directory, ROW) == ("how many plugins?</s>\n", "a brown fox</s>")


def test_a_template_that_rewrites_past_answers_is_taken_at_its_prompt(
    text_checkpoint: Path, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<think>' }}{% endif %}"
    )
    directory = with_template(text_checkpoint, tmp_path / "chat", template)
    assert encoded(directory, ROW) == ("userhow many plugins?<think>", "a brown fox</s>")


def test_messages_need_a_chat_template(text_checkpoint: Path, tmp_path: Path) -> None:
    directory = with_template(text_checkpoint, tmp_path / "plain", None)
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(InvalidRequest, match=r"^row 1: .*has no chat template"):
        encoded(directory, row)


def test_what_the_template_refuses_is_named_with_its_row(
    text_checkpoint: Path, tmp_path: Path
) -> None:
    template = "{% if messages|length > 1 %}{{ raise_exception('one at a time') }}{% endif %}a"
    directory = with_template(text_checkpoint, tmp_path / "chat", template)
    with pytest.raises(InvalidRequest, match=r"^row 1: .*refuses the answer: one at a time"):
        encoded(directory, ROW)


def test_a_row_longer_than_the_context_is_refused(text_checkpoint: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"^row 1: .*too many for a context of 512"):
        encoded(text_checkpoint, {**ROW, "response": "x y " * 600})


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        Encoder(tmp_path)


def test_a_batch_is_padded_with_what_neither_attention_nor_loss_sees() -> None:
    batch = collate(
        [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]
