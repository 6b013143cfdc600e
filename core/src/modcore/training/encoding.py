"""From an example to token ids: the prompt as the engine reads it, and the response behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modcore.checkpoint import read_config
from modcore.engine.prompts import Prompt, PromptReader
from modcore.errors import CheckpointError, InvalidRequest
from modcore.training.dataset import Example, Message

IGNORED = -100  # the label that the loss leaves out


@dataclass(frozen=True, slots=True)
class Encoded:
    """The token ids of an example; the response begins at `start`."""

    input_ids: list[int]
    start: int

    @property
    def labels(self) -> list[int]:
        """The ids that are learnt: the response's; IGNORED on the prompt."""
        return [IGNORED] * self.start + self.input_ids[self.start :]


class Encoder:
    """Encodes examples for the checkpoint in `directory`.

    The prompt goes through the engine's own `PromptReader`, so that training and `forward` see the
    same ids. The response ends with a token that ends the engine's answers.
    """

    def __init__(self, directory: Path) -> None:
        self._reader = PromptReader(directory)
        if not self._reader.has_tokenizer:
            raise CheckpointError(
                f"{directory} has no tokenizer, so it cannot read text; save_pretrained() the tokenizer into it."
            )
        self.tokenizer = load_tokenizer(directory)
        self._ends = self._reader.eos_token_ids()
        self._context = read_config(directory).get("max_position_embeddings")

    @property
    def has_template(self) -> bool:
        """Whether the checkpoint has a chat template."""
        return bool(self.tokenizer.chat_template)

    def prompt(self, prompt: str | tuple[Message, ...]) -> Prompt:
        """`prompt` as the engine takes it: text is the user's message where there is a chat template."""
        return as_prompt(prompt, has_template=self.has_template)

    def encode(self, example: Example) -> Encoded:
        """The ids of `example`; raises InvalidRequest, with its place, when there are none or too many."""
        prompt = self.prompt(example.prompt)
        try:
            prompt_ids = self._reader.encode(prompt)
        except InvalidRequest as error:
            raise InvalidRequest(f"{example.place}: {error}", param="trainset") from error
        if not prompt_ids:
            raise InvalidRequest(
                f"{example.place}: the prompt has no tokens; give it some text.", param="trainset"
            )
        ids = [*prompt_ids, *self._ended(self._response_ids(prompt, prompt_ids, example))]
        if isinstance(self._context, int) and len(ids) > self._context:
            raise InvalidRequest(
                f"{example.place}: prompt and response have {len(ids)} tokens, too many for a context of "
                f"{self._context}; shorten them or take the row out.",
                param="trainset",
            )
        return Encoded(ids, len(prompt_ids))

    def _response_ids(self, prompt: Prompt, prompt_ids: list[int], example: Example) -> list[int]:
        if isinstance(prompt, str):
            head, tail, special = prompt, example.response, True
        else:
            head, tail = self._rendered(cast("list[Message]", prompt), example)
            special = False
        # Encoded as one text where that keeps the prompt's ids: some tokenizers treat the beginning
        # of a text differently from its middle.
        whole: list[int] = self.tokenizer(head + tail, add_special_tokens=special)["input_ids"]
        if whole[: len(prompt_ids)] == prompt_ids and len(whole) > len(prompt_ids):
            return whole[len(prompt_ids) :]
        alone: list[int] = self.tokenizer(tail, add_special_tokens=False)["input_ids"]
        return alone

    def _rendered(self, messages: list[Message], example: Example) -> tuple[str, str]:
        """The texts of prompt and response, as the chat template writes them."""
        template = self.tokenizer.apply_chat_template
        head: str = template(messages, add_generation_prompt=True, tokenize=False)
        try:
            whole: str = template([*messages, dict(example.answer)], tokenize=False)
        except Exception as error:  # the template is the checkpoint's and may raise anything
            raise InvalidRequest(
                f"{example.place}: the checkpoint's chat template refuses the answer: {error}",
                param="trainset",
            ) from error
        # Some templates write a past answer otherwise than they prompt for one (they drop the reasoning).
        tail = whole.removeprefix(head) if whole.startswith(head) else example.response
        # The line break between two turns is not a part of the answer.
        return head, tail if example.response[-1].isspace() else tail.rstrip()

    def _ended(self, ids: list[int]) -> list[int]:
        if not self._ends or self._ends.intersection(ids):
            return ids
        own: int | None = self.tokenizer.eos_token_id
        return [*ids, own if own is not None and own in self._ends else min(self._ends)]


def as_prompt(prompt: Any, *, has_template: bool) -> Prompt:
    """What the engine is given for `prompt`: with a chat template, text is a message of the user."""
    if not isinstance(prompt, str):
        return cast(Prompt, list(prompt))
    return [{"role": "user", "content": prompt}] if has_template else prompt


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer in `directory`, as transformers reads it; no code from there runs."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        str(directory), local_files_only=True, trust_remote_code=False
    )
