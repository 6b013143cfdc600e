"""Records of log probabilities, and tokens as bytes."""

from __future__ import annotations

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from checkpoints import train_tokenizer
from modcore.engine.sampling import prompt_logprobs, token_logprobs
from modcore.engine.sampling.token_text import TokenText
from modcore.errors import StepFailed


def test_records_are_the_log_softmax() -> None:
    logits = 3 * torch.randn(600, 50, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(50, (600,), generator=torch.Generator().manual_seed(1)).tolist()
    expected = logits.log_softmax(-1)
    ranked, order = expected.sort(-1, descending=True)
    for row, record in enumerate(token_logprobs(logits, tokens, 4)):
        assert record.token_id == tokens[row]
        assert record.logprob == pytest.approx(float(expected[row, tokens[row]]), abs=1e-5)
        assert [token for token, _ in record.top] == order[row, :4].tolist()
        assert [value for _, value in record.top] == pytest.approx(
            ranked[row, :4].tolist(), abs=1e-5
        )


def test_equally_likely_tokens_come_by_id() -> None:
    logits = torch.tensor([[0.0, 5.0, 7.0, 5.0, 5.0, 1.0]])
    [record] = token_logprobs(logits, [0], 3)
    assert [token for token, _ in record.top] == [2, 1, 3]
    [record] = token_logprobs(torch.zeros(1, 1000), [0], 3)
    assert [token for token, _ in record.top] == [0, 1, 2]


def test_more_likeliest_than_tokens_are_all_of_them() -> None:
    [record] = token_logprobs(torch.zeros(1, 3), [0], 20)
    assert len(record.top) == 3


def test_prompt_records_begin_with_the_second_token() -> None:
    logits = torch.randn(5, 20, generator=torch.Generator().manual_seed(2))
    ids = [3, 1, 4, 1, 5]
    records = prompt_logprobs(logits, ids, 2)
    assert [record.token_id for record in records] == ids[1:]
    expected = logits.log_softmax(-1)
    for place, record in enumerate(records):
        assert record.logprob == pytest.approx(float(expected[place, ids[place + 1]]), abs=1e-5)
    assert prompt_logprobs(logits[:1], [3], 2) == []


def test_prompt_records_of_values_that_are_not_finite_are_refused() -> None:
    logits = torch.zeros(3, 20)
    logits[1, 1] = math.nan
    with pytest.raises(StepFailed):
        prompt_logprobs(logits, [1, 2, 3], 0)


def test_byte_level_tokens_are_their_bytes() -> None:
    tokenizer = train_tokenizer()
    texts = TokenText(tokenizer)
    text = "the quick 🦙 naïve\n東京!"
    ids = tokenizer(text)["input_ids"]
    assert b"".join(texts.bytes_of(token) for token in ids) == text.encode()
    assert texts.text_of(tokenizer.eos_token_id) == "</s>"
    assert texts.bytes_of(10_000) == b""


def test_sentencepiece_tokens_are_their_bytes() -> None:
    vocab = {"<unk>": 0, "<0xE6>": 1, "▁the": 2, "a": 3}
    backend = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    texts = TokenText(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert [texts.bytes_of(token) for token in (1, 2, 3)] == [b"\xe6", b" the", b"a"]
    assert texts.text_of(1) == "\N{REPLACEMENT CHARACTER}"
