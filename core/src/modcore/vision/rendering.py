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


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    prompt_format: PromptFormat,
    counts: Sequence[int],
) -> RenderedPrompt:
    """`messages`, rendered for an answer; image i of them has ``counts[i]`` tokens.

    Raises InvalidRequest where there are more images than placeholders, or fewer.
    """
    fast = tokenizer.fast
    template = fast.chat_template or prompt_format.template
    text: str = fast.apply_chat_template(
        list(messages), chat_template=template, add_generation_prompt=True, tokenize=False
    )
    found = text.count(prompt_format.placeholder)
    if found != len(counts):
        raise InvalidRequest(
            f"The prompt has {found} places for images ({prompt_format.placeholder}) and the messages hold "
            f"{len(counts)} images; give as many of one as of the other.",
            param="messages",
        )
    text = text.replace(prompt_format.placeholder, prompt_format.text)
    ids: list[int] = fast(text, add_special_tokens=False)["input_ids"]
    return widen(ids, _token_id(tokenizer, prompt_format.token), counts)


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


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    ids: list[int] = tokenizer.fast(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise CheckpointError(
            f"The tokenizer in {tokenizer.directory} knows no token {token}, which stands for images; "
            "fetch its files again."
        )
    return ids[0]
