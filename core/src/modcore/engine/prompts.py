"""What a caller may hand in as a prompt, and which tokens end the answer."""

from __future__ import annotations

import contextlib
import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, cast

from modcore.checkpoint import read_json_object
from modcore.engine.multimodal import MultimodalModel, Reading, shows_more_than_text
from modcore.engine.sampling import SamplingParams
from modcore.engine.tokenizer import Tokenizer, has_tokenizer
from modcore.errors import CheckpointError, InvalidRequest

#: Text, token ids, or chat messages as the OpenAI API writes them.
Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]


class PromptReader:
    """Turns prompts into the token ids of the checkpoint in `directory`.

    Messages are read by `multimodal`, where the checkpoint's model reads more than text.
    """

    def __init__(self, directory: Path, multimodal: MultimodalModel | None = None) -> None:
        self.directory = directory
        self.multimodal = multimodal
        self.has_tokenizer = has_tokenizer(directory)
        self._tokenizer: Tokenizer | None = None
        self._reading = threading.Lock()

    def load_ahead(self) -> None:
        """Read the tokenizer in a thread: its library takes seconds to import, like the weights to load."""
        if self.has_tokenizer:
            threading.Thread(
                target=self._try_to_load, name="modcore tokenizer", daemon=True
            ).start()

    def _try_to_load(self) -> None:
        with contextlib.suppress(CheckpointError):  # raised again for whoever needs it
            self.tokenizer  # noqa: B018

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer, read when text is first met."""
        with self._reading:
            if self._tokenizer is None:
                self._tokenizer = Tokenizer(self.directory)
            return self._tokenizer

    def read(
        self,
        prompt: Prompt,
        most_tokens: int | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Reading:
        """The token ids of `prompt`, and the features that stand at some of them; raises as `encode`.

        Gives up with EngineClosed once `is_wanted` says that nobody waits for them any more.
        """
        if self.multimodal and _are_messages(prompt):
            messages = cast(Sequence[Mapping[str, Any]], prompt)
            return self.multimodal.read(messages, most_tokens, is_wanted)
        if takes_long(prompt):
            raise InvalidRequest(
                f"{self.directory.name} is a model that takes text only, and a message holds something "
                "else; leave it out, or use a vision model.",
                param="messages",
            )
        return Reading(self.encode(prompt, most_tokens))

    def encode(self, prompt: Prompt, most_tokens: int | None = None) -> list[int]:
        """The token ids of `prompt`.

        Raises InvalidRequest when it is empty, is text and the checkpoint has no tokenizer, or is a
        text that `most_tokens` cannot hold, however it is cut.
        """
        prompt = _as_lists(prompt)
        _verify_is_sequence(prompt)
        if len(prompt) == 0:
            raise InvalidRequest("The prompt is empty; give it some text.", param="prompt")
        if not isinstance(prompt, str) and not isinstance(prompt[0], Mapping):
            return [_index(token) for token in prompt]
        if not self.has_tokenizer:
            raise InvalidRequest(
                f"{self.directory.name} has no tokenizer, so it takes token ids only; "
                "save_pretrained() the tokenizer into it to give it text.",
                param="prompt",
            )
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt, most_tokens)
        return self.tokenizer.encode_chat(cast(Sequence[Mapping[str, Any]], prompt), most_tokens)

    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end an answer: generation_config.json says, else config.json, else the tokenizer."""
        for name in ("generation_config.json", "config.json"):
            file = self.directory / name
            value = read_json_object(file).get("eos_token_id") if file.is_file() else None
            ids = value if isinstance(value, list) else [value]
            if ids and all(isinstance(token, int) for token in ids):
                return frozenset(ids)
            if value is not None:
                raise CheckpointError(
                    f"{file}: eos_token_id is {value!r} where token ids are expected."
                )
        if self.has_tokenizer and self.tokenizer.eos_token_id is not None:
            return frozenset({self.tokenizer.eos_token_id})
        return frozenset()


def takes_long(prompt: Prompt) -> bool:
    """Whether reading `prompt` is more than tokenizing: it shows something."""
    return _are_messages(prompt) and shows_more_than_text(cast(Sequence[Mapping[str, Any]], prompt))


def _are_messages(prompt: object) -> bool:
    return (
        isinstance(prompt, Sequence)
        and not isinstance(prompt, (str, bytes, bytearray))
        and len(prompt) > 0
        and all(isinstance(message, Mapping) for message in prompt)
    )


def _index(token: object) -> int:
    """A whole number of any kind, NumPy's and torch's included."""
    try:
        if isinstance(token, bool):
            raise TypeError
        return operator.index(cast(SupportsIndex, token))
    except TypeError:
        raise InvalidRequest(
            f"The prompt holds {token!r}, which is no token id.", param="prompt"
        ) from None


def as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt, or several: ids and messages are sequences too, and so are arrays and tensors of ids.

    Raises InvalidRequest for what is none of these.
    """
    prompts = _as_lists(prompts)
    if isinstance(prompts, str):
        return [prompts]
    _verify_is_sequence(prompts)
    if len(prompts) and isinstance(_as_lists(prompts[0]), (int, Mapping)):
        return [cast(Prompt, prompts)]
    return [cast(Prompt, prompt) for prompt in prompts]


def _as_lists(value: Any) -> Any:
    """`value`, or the list that an array or tensor is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _verify_is_sequence(prompt: object) -> None:
    if isinstance(prompt, (bytes, bytearray)) or not isinstance(prompt, Sequence):
        raise InvalidRequest(
            f"A prompt is a text, a list of token ids or a list of messages, not {prompt!r:.80} "
            f"(a {type(prompt).__name__}).",
            param="prompt",
        )


def as_params(
    params: SamplingParams | Sequence[SamplingParams] | None, count: int
) -> list[SamplingParams]:
    """One for all, or one each; raises InvalidRequest for another number of them."""
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    if not isinstance(params, Sequence) or not all(
        isinstance(each, SamplingParams) for each in params
    ):
        raise InvalidRequest(
            f"params is {params!r:.80}; give SamplingParams(...), one for all, or one each.",
            param="params",
        )
    if len(params) != count:
        raise InvalidRequest(
            f"{len(params)} params for {count} prompts; give one for all, or one each.",
            param="params",
        )
    return list(params)
