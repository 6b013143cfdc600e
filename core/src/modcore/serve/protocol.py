"""The bodies of the OpenAI API that are read here, and what of them is not served.

Source: the OpenAI API reference, *Completions* and *Chat completions*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from modcore.engine import SamplingParams
from modcore.errors import InvalidRequest

MAX_PROMPTS = 256

#: Fields that are taken and have no effect on an answer here.
HARMLESS = frozenset(
    {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
)

#: Fields that would change the answer and are not served, with the values that change nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False,),
    "logit_bias": ({},),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


class StreamOptions(BaseModel):
    """What a stream carries beyond the text."""

    model_config = ConfigDict(strict=True)

    include_usage: bool = False


class GenerationBody(BaseModel):
    """The fields that both endpoints share; what else there is ends in `refuse_unserved`."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def refuse_unserved(self) -> None:
        """Raise InvalidRequest for a field whose meaning could not be honoured."""
        for name, value in (self.model_extra or {}).items():
            neutral = any(
                type(value) is type(other) and value == other for other in NEUTRAL.get(name, ())
            )
            if value is not None and name not in HARMLESS and not neutral:
                raise InvalidRequest(f"{name} is not served here; leave it out.", param=name)

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling_params(self, max_tokens: int | None) -> SamplingParams:
        """The parameters for the engine; raises InvalidRequest."""
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=[] if self.stop is None else self.stop,
        )


class CompletionBody(GenerationBody):
    """``POST /v1/completions``."""

    prompt: str | list[str] | list[int] | list[list[int]]

    @field_validator("prompt", mode="before")
    @classmethod
    def _verify_prompt(cls, value: Any) -> Any:
        items = value if isinstance(value, list) else [value]
        kinds = {type(item) for item in items}
        ids = kinds == {list} and all(type(token) is int for item in items for token in item)
        if value != [] and not ids and kinds not in ({str}, {int}):
            raise ValueError(
                "has to be a string, a list of strings, token ids, or lists of token ids"
            )
        return value

    def prompts(self) -> list[str | list[int]]:
        """Each prompt; raises InvalidRequest when there is none or there are too many."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if not self.prompt:
            raise InvalidRequest("The prompt is empty; give it some text.", param="prompt")
        if isinstance(self.prompt[0], int):
            return [self.prompt]  # a list that begins with an id holds ids
        if len(self.prompt) > MAX_PROMPTS:
            raise InvalidRequest(
                f"There are {len(self.prompt)} prompts; {MAX_PROMPTS} are the most at once.",
                param="prompt",
            )
        return list(self.prompt)


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(strict=True, extra="forbid")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _verify_content(cls, value: Any) -> Any:
        parts = value if isinstance(value, list) else []
        if not isinstance(value, (str, list)):
            raise ValueError("has to be text, or a list of parts of the type text")
        for part in parts:
            if not isinstance(part, dict) or part.get("type") != "text":
                kind = part.get("type") if isinstance(part, dict) else part
                raise ValueError(f"has a part of the type {kind!r:.50}; this model takes text only")
        return value

    def to_template(self) -> dict[str, Any]:
        """The message as chat templates take it: the content is text."""
        content = self.content
        if isinstance(content, list):
            content = "\n".join(part.text for part in content)
        return {"role": self.role, "content": content}


class ChatBody(GenerationBody):
    """``POST /v1/chat/completions``."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = None

    def chat_params(self) -> SamplingParams:
        """The parameters for the engine, with errors under the name that the caller used."""
        newer = self.max_completion_tokens is not None
        try:
            return self.sampling_params(self.max_completion_tokens if newer else self.max_tokens)
        except InvalidRequest as error:
            if newer and error.param == "max_tokens":
                message = str(error).replace("max_tokens", "max_completion_tokens")
                raise InvalidRequest(message, param="max_completion_tokens") from None
            raise
