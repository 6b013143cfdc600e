"""Chat messages with images to the ids of a prompt, and where in them each image stands.

A template writes a placeholder for an image. It becomes as much of the prompt's text as stands for an
image of one token, the text is encoded, and that token is repeated as often as the image has tokens:
so positions are known by construction, and long images cost the tokenizer nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modcore.engine.tokenizer import Tokenizer
from modcore.errors import CheckpointError, InvalidRequest
from modcore.vision.plain_text import SpecialTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """How images stand in a prompt.

    `placeholder` is what the chat template writes for one (``<IMG_CONTEXT>``), `text` what stands
    there for the tokenizer (``<img><IMG_CONTEXT></img>``), in which `token` is once: the one that is
    repeated. `template` is a chat template for checkpoints that bring none.
    """

    placeholder: str
    text: str
    token: str
    template: str | None = None


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt's ids, and ``(start, stop)`` of each image in them."""

    ids: list[int]
    spans: list[tuple[int, int]]


class Renderer:
    """Renders messages with the template and the tokens of one checkpoint."""

    def __init__(self, tokenizer: Tokenizer, prompt_format: PromptFormat) -> None:
        self._tokenizer, self._format = tokenizer, prompt_format
        self._token = _token_id(tokenizer, prompt_format.token)
        added = tokenizer.fast.get_added_vocab()
        around = {token for token in added if token in prompt_format.text}
        self._special = SpecialTokens(
            tokenizer, around | {prompt_format.placeholder, prompt_format.token}
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        counts: Sequence[int],
        most_tokens: int | None = None,
    ) -> RenderedPrompt:
        """`messages`, rendered for an answer; image i of them has ``counts[i]`` tokens.

        Special tokens that a text holds are plain text. Raises InvalidRequest where there are more
        images than placeholders, or fewer, and for what `most_tokens` cannot hold.
        """
        hidden, markers = self._special.hide(messages)
        text = self._tokenizer.render(hidden, self._format.template)
        found = text.count(self._format.placeholder)
        if found != len(counts):
            raise InvalidRequest(
                f"The prompt has {found} places for images ({self._format.placeholder}) and the messages hold "
                f"{len(counts)} images; give as many of one as of the other.",
                param="messages",
            )
        self._tokenizer.verify(text, most_tokens)
        ids = self._encode(text.replace(self._format.placeholder, self._format.text), markers)
        _verify_room(len(ids), counts, most_tokens)
        self._verify_places(ids.count(self._token), len(counts))
        return widen(ids, self._token, counts)

    def _verify_places(self, places: int, images: int) -> None:
        """Raise CheckpointError unless what stands for an image holds its token once, and nothing else does."""
        if places != images:
            raise CheckpointError(
                f"The prompt of {images} images has {places} times {self._format.token}, the token that becomes "
                f"theirs: {self._format.text!r} stands for an image, and has to hold it once, and the chat template "
                f"in {self._tokenizer.directory} must not write it elsewhere; correct the one that is wrong."
            )

    def _encode(self, text: str, markers: Mapping[str, str]) -> list[int]:
        """The ids of `text`, begun as the tokenizer begins texts, once: as transformers' processors do."""
        fast = self._tokenizer.fast
        is_begun = bool(fast.bos_token) and text.startswith(fast.bos_token)
        if markers:
            return self._special.encode(text, markers, begins=not is_begun)
        ids: list[int] = fast(text, add_special_tokens=not is_begun)["input_ids"]
        return ids


def widen(ids: Sequence[int], token: int, counts: Sequence[int]) -> RenderedPrompt:
    """`ids` with each `token` repeated: the first ``counts[0]`` times, the next ``counts[1]`` times."""
    wide: list[int] = []
    spans: list[tuple[int, int]] = []
    remaining = iter(counts)
    for each in ids:
        count = next(remaining) if each == token else 1
        if each == token:
            spans.append((len(wide), len(wide) + count))
        wide.extend([each] * count)
    return RenderedPrompt(wide, spans)


def _verify_room(length: int, counts: Sequence[int], most_tokens: int | None) -> None:
    shown = sum(counts)
    total = length - len(counts) + shown
    if most_tokens is not None and total > most_tokens:
        raise InvalidRequest(
            f"The prompt has {total} tokens, {shown} of them for {len(counts)} images, too many for {most_tokens}; "
            'shorten it, send fewer or smaller images, or ask for detail "low".',
            param="messages",
        )


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    ids: list[int] = tokenizer.fast(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise CheckpointError(
            f"The tokenizer in {tokenizer.directory} knows no token {token}, which stands for images; "
            "fetch its files again."
        )
    return ids[0]
