"""A tokenizer that is read without transformers reads and writes as transformers does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from modcore.engine.plain_tokenizer import read_plain
from modcore.engine.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def pair(text_checkpoint: Path) -> tuple[Tokenizer, object]:
    ours = Tokenizer(text_checkpoint)
    assert "fast" not in vars(ours)
    return ours, AutoTokenizer.from_pretrained(text_checkpoint)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=60) | st.sampled_from(["<s> a </s>", "<|turn|>x<|end|>", "  two  spaces "]))
def test_text_becomes_the_same_tokens_and_back(pair: tuple[Tokenizer, object], text: str) -> None:
    ours, theirs = pair
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    ids = ours.encode(text)
    assert ids == theirs(text)["input_ids"]  # type: ignore[operator]
    assert ours.decode(ids) == theirs.decode(  # type: ignore[attr-defined]
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def test_end_token_is_the_same(pair: tuple[Tokenizer, object]) -> None:
    ours, theirs = pair
    assert ours.eos_token_id == theirs.eos_token_id  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changed",
    [
        {"tokenizer_class": "LlamaTokenizer"},
        {"add_bos_token": True},
        {"pad_token": "<a new one>"},
        {"additional_special_tokens": ["<another>"]},
        {"eos_token": {"content": "<third>", "special": True}},
    ],
)
def test_configuration_that_says_more_is_left_to_transformers(
    text_checkpoint: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(text_checkpoint / name, tmp_path)
    assert read_plain(tmp_path) is not None
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    assert read_plain(tmp_path) is None


def test_file_that_is_broken_is_left_to_transformers(text_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(text_checkpoint / "tokenizer_config.json", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert read_plain(tmp_path) is None
