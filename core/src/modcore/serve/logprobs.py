"""Log probabilities in the shapes of HTTP: OpenAI's of chats and of completions, vLLM's of prompts.

Sources: the OpenAI API reference, `logprobs` of *Chat completions* and of *Completions*; vLLM's ``prompt_logprobs``.
Needs nothing of ``modcore[serve]``.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from modcore.engine import Engine
from modcore.engine.sampling import TokenLogprob
from modcore.engine.sampling.token_text import TokenText

LOWEST = -9999.0  # stands for minus infinity, which JSON does not have


class Vocabulary:
    """The tokens of `engine` as bytes and strings; without a tokenizer they are called by their numbers."""

    def __init__(self, engine: Engine) -> None:
        self._text: TokenText | None = None
        self._unseen: frozenset[int] = frozenset()
        if engine.preparer.prompts.has_tokenizer:
            tokenizer = engine.tokenizer.fast
            self._text = TokenText(tokenizer)
            self._unseen = frozenset(tokenizer.all_special_ids)

    def text_of(self, token: int) -> str:
        """The string of `token`."""
        return self._text.text_of(token) if self._text else f"token_id:{token}"

    def bytes_of(self, token: int) -> bytes | None:
        """The bytes of `token`; None where they are not known."""
        return self._text.bytes_of(token) if self._text else None

    def shown(self, token: int) -> bytes:
        """What `token` adds to an answer's text; special tokens add nothing."""
        return b"" if token in self._unseen else self.bytes_of(token) or b""


def chat_logprobs(
    records: Sequence[TokenLogprob] | None, words: Vocabulary
) -> dict[str, Any] | None:
    """``choices[].logprobs`` of a chat."""
    if records is None:
        return None
    content = [
        {
            **_token(record.token_id, record.logprob, words),
            "top_logprobs": [_token(*pair, words) for pair in record.top],
        }
        for record in records
    ]
    return {"content": content, "refusal": None}


def _token(token: int, logprob: float, words: Vocabulary) -> dict[str, Any]:
    data = words.bytes_of(token)
    return {
        "token": words.text_of(token),
        "logprob": max(logprob, LOWEST),
        "bytes": None if data is None else list(data),
    }


class CompletionLogprobs:
    """``choices[].logprobs`` of a completion, part after part of one choice."""

    def __init__(self, words: Vocabulary) -> None:
        self._words = words
        self._decoder = _decoder()
        self._offset = 0

    def prompt(
        self, ids: Sequence[int], records: Sequence[TokenLogprob | None], text: str
    ) -> dict[str, Any]:
        """Those of an echoed prompt; `text` is what is shown of it."""
        part = self._part(list(zip(ids, records, strict=True)))
        # A tokenizer may begin a text with a blank of its own.
        surplus = max(self._offset - len(text), 0)
        part["text_offset"] = [max(offset - surplus, 0) for offset in part["text_offset"]]
        self._offset, self._decoder = len(text), _decoder()
        return part

    def answer(self, records: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Those of the next tokens of the answer."""
        return self._part([(record.token_id, record) for record in records])

    def _part(self, tokens: Sequence[tuple[int, TokenLogprob | None]]) -> dict[str, Any]:
        offsets: list[int] = []
        for token, _ in tokens:
            data = self._words.shown(token)
            offsets.append(self._offset + self._broken_before(data))
            self._offset += len(self._decoder.decode(data))
        return {
            "tokens": [self._words.text_of(token) for token, _ in tokens],
            "token_logprobs": [record and max(record.logprob, LOWEST) for _, record in tokens],
            "top_logprobs": [record and self._top(record) for _, record in tokens],
            "text_offset": offsets,
        }

    def _broken_before(self, data: bytes) -> int:
        """1 when the tokens before `data` end within a character that it does not go on with, else 0."""
        begun = self._decoder.getstate()[0]
        return int(bool(begun and data) and not 0x80 <= data[0] < 0xC0)

    def _top(self, record: TokenLogprob) -> dict[str, float]:
        """The likeliest tokens and the one that was taken; of those with equal strings the likeliest."""
        top: dict[str, float] = {}
        for token, logprob in (*record.top, (record.token_id, record.logprob)):
            top.setdefault(self._words.text_of(token), max(logprob, LOWEST))
        return top


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The parts of one choice as one; there is at least one."""
    return {key: [item for part in parts for item in part[key]] for key in parts[0]}


def prompt_logprobs(
    records: Sequence[TokenLogprob | None] | None, words: Vocabulary
) -> list[dict[str, Any] | None] | None:
    """For each token of the prompt the likeliest ones and itself, by id, as vLLM shapes them.

    `rank` is 1 for the likeliest, None for one that is not among the likeliest asked for.
    """
    if records is None:
        return None
    return [None if record is None else _ranked(record, words) for record in records]


def _ranked(record: TokenLogprob, words: Vocabulary) -> dict[str, Any]:
    ranks = {token: place + 1 for place, (token, _) in enumerate(record.top)}
    pairs = {record.token_id: record.logprob, **dict(record.top)}
    return {
        str(token): {
            "logprob": max(logprob, LOWEST),
            "rank": ranks.get(token),
            "decoded_token": words.text_of(token),
        }
        for token, logprob in pairs.items()
    }
