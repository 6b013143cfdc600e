"""The checkpoint's tokenizer: text to ids, chat messages to ids, and ids back to text.

transformers reads it, or where that adds nothing the library under it (`plain_tokenizer`); code in the
checkpoint directory is never run.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modcore.checkpoint import read_json_object
from modcore.engine.plain_tokenizer import read_plain
from modcore.errors import CheckpointError, InvalidRequest

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "spiece.model")


def has_tokenizer(directory: Path) -> bool:
    """Whether the checkpoint brings a tokenizer."""
    return any((directory / name).is_file() for name in _FILES)


def asks_for_code(directory: Path) -> bool:
    """Whether the tokenizer's configuration names a class of the checkpoint's own.

    None of it runs; where there is a ``tokenizer.json``, all that it does is in there.
    """
    file, config = directory / "tokenizer.json", directory / "tokenizer_config.json"
    return file.is_file() and config.is_file() and "auto_map" in read_json_object(config)


class Tokenizer:
    """The tokenizer of the checkpoint in `directory`; raises CheckpointError when it cannot be read."""

    def __init__(self, directory: Path) -> None:
        if not has_tokenizer(directory):
            raise CheckpointError(
                f"{directory} has no tokenizer (none of {', '.join(_FILES)}); save_pretrained() it there."
            )
        self.directory = directory
        self._plain = read_plain(directory)
        if self._plain is None:
            self.fast  # noqa: B018  says now what is wrong with it

    @functools.cached_property
    def fast(self) -> Any:
        """The tokenizer as transformers reads it, for templates and what works on its vocabulary.

        Raises CheckpointError when it cannot be read.
        """
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        reader = PreTrainedTokenizerFast if asks_for_code(self.directory) else AutoTokenizer
        try:
            return reader.from_pretrained(
                str(self.directory), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # whatever the file makes the reader raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"transformers cannot read the tokenizer in {self.directory} from its config.json, "
                f"tokenizer_config.json and tokenizer.json: {reason}; check these files, or "
                "save_pretrained() the tokenizer again."
            ) from error

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text, if the tokenizer knows one."""
        if self._plain:
            return self._plain[1]
        token: int | None = self.fast.eos_token_id
        return token

    @functools.cached_property
    def longest_token(self) -> int:
        """The most characters that one token stands for, roughly: as many as the longest is spelled with."""
        vocabulary = self._plain[0].get_vocab() if self._plain else self.fast.get_vocab()
        return max(map(len, vocabulary), default=1)

    def encode(self, text: str, most_tokens: int | None = None) -> list[int]:
        """The ids of `text`, with the special tokens that the tokenizer adds.

        Raises InvalidRequest for a text that `most_tokens` cannot hold, before it is taken apart.
        """
        self.verify(text, most_tokens)
        ids: list[int] = (
            self._plain[0].encode(text).ids if self._plain else self.fast(text)["input_ids"]
        )
        return ids

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], most_tokens: int | None = None
    ) -> list[int]:
        """The ids of chat `messages`, rendered with the checkpoint's template for an answer.

        Raises InvalidRequest when there is no template or it refuses the messages, and as `encode`.
        """
        text = self.render(messages)
        self.verify(text, most_tokens)
        return self.encode_rendered(text)

    def render(self, messages: Sequence[Mapping[str, Any]], template: str | None = None) -> str:
        """Chat `messages` as the text of a prompt for an answer; `template` stands in for a missing one.

        Raises InvalidRequest when there is no template or it refuses the messages.
        """
        if self.fast.chat_template:
            template = None  # its own is taken, whatever it is
        elif not template:
            raise InvalidRequest(
                "This checkpoint has no chat template, so it cannot take messages; complete a prompt instead.",
                param="messages",
            )
        try:
            text: str = self.fast.apply_chat_template(
                list(messages), chat_template=template, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # the template is the checkpoint's and may raise anything
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InvalidRequest(
                f"The checkpoint's chat template refuses these messages: {reason}", param="messages"
            ) from error
        return text

    def encode_rendered(self, text: str) -> list[int]:
        """The ids of what `render` made: all special tokens are in it already."""
        ids: list[int] = self.fast(text, add_special_tokens=False)["input_ids"]
        return ids

    def verify(self, text: str, most_tokens: int | None) -> None:
        """Raise InvalidRequest for a text that is no Unicode, or that `most_tokens` cannot hold."""
        _verify_unicode(text)
        if most_tokens is not None and len(text) > most_tokens * self.longest_token:
            raise InvalidRequest(
                f"The prompt has {len(text)} characters, which are more than {most_tokens} tokens "
                f"can hold (of {self.longest_token} characters at most); shorten it.",
                param="prompt",
            )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens."""
        if self._plain:
            plain: str = self._plain[0].decode(list(ids), skip_special_tokens=True)
            return plain
        text: str = self.fast.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


def _verify_unicode(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"The text holds half a character (a lone surrogate at position {error.start}); take it out.",
            param="prompt",
        ) from None
