"""The bodies of the OpenAI API that are read here, and what of them is not served.

What `SamplingParams` takes is checked by `SamplingParams`, which is quick on absurd values; the types of these
fields stand here for the description of the API.

Sources: the OpenAI API reference, *Completions* and *Chat completions*; vLLM's extra parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SkipValidation

from modcore.engine import SamplingParams
from modcore.engine.sampling.checks import need_flag, need_integer, refuse, shown
from modcore.engine.sampling.params import MAX_TOKENS
from modcore.errors import InvalidRequest
from modcore.serve.formats import read_format

MAX_PROMPTS = 256
MAX_ANSWERS = 1024  # of all prompts of a body
MAX_PRIORITY = 2**31 - 1

#: Fields that are taken and have no effect on an answer here.
HARMLESS = frozenset(
    {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
)

#: Fields that would change the answer and are not served, with the values that change nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "modalities": (["text"],),
    "use_beam_search": (False,),
}

#: Fields that go to `SamplingParams` under the same name.
SAMPLING = (
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "stop",
    "stop_token_ids",
    "ignore_eos",
    "n",
    "prompt_logprobs",
    "prefix_cache",
)

Number = SkipValidation[float | None]
Whole = SkipValidation[int | None]
Flag = SkipValidation[bool | None]


class StreamOptions(BaseModel):
    """What a stream carries beyond the text."""

    model_config = ConfigDict(strict=True)

    include_usage: bool = False


class GenerationBody(BaseModel):
    """The fields that both endpoints share; what else there is ends in `refuse_unserved`."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Whole = None
    min_tokens: Whole = None
    temperature: Number = None
    top_p: Number = None
    top_k: Whole = None
    min_p: Number = None
    typical_p: Number = None
    repetition_penalty: Number = None
    presence_penalty: Number = None
    frequency_penalty: Number = None
    logit_bias: SkipValidation[dict[str, float] | None] = None
    seed: Whole = None
    stop: SkipValidation[str | list[str] | None] = None
    stop_token_ids: SkipValidation[list[int] | None] = None
    ignore_eos: Flag = None
    n: Whole = None
    prompt_logprobs: Whole = None
    prefix_cache: Flag = None
    priority: Whole = None
    response_format: SkipValidation[dict[str, Any] | None] = None
    structured_outputs: SkipValidation[dict[str, Any] | None] = None
    guided_json: SkipValidation[str | dict[str, Any] | None] = None
    guided_regex: SkipValidation[str | None] = None
    json_schema: SkipValidation[str | dict[str, Any] | None] = None
    regex: SkipValidation[str | None] = None

    #: What the engine calls the prompt, and how this body does.
    renamed: ClassVar[Mapping[str, str]] = {}

    def refuse_unserved(self) -> None:
        """Raise InvalidRequest for a field whose meaning could not be honoured."""
        for name, value in (self.model_extra or {}).items():
            neutral = any(
                type(value) is type(other) and value == other for other in NEUTRAL.get(name, ())
            )
            if value is not None and name not in HARMLESS and not neutral:
                raise InvalidRequest(f"{name} is not served here; leave it out.", param=name)
        if self.stream and self.prompt_logprobs is not None:
            refuse("prompt_logprobs", "cannot be streamed; ask for them without stream.")

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def request_priority(self) -> int:
        """Who starts first, the lower ones; raises InvalidRequest."""
        if self.priority is None:
            return 0
        return need_integer("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY)

    def names(self) -> dict[str, str]:
        """The engine's names of parameters, and the caller's where they differ."""
        wanted = read_format(self.__dict__)
        return {**self.renamed, **({wanted.param: wanted.field} if wanted else {})}

    def sampling_params(self, **others: Any) -> SamplingParams:
        """The parameters for the engine, with `others`; raises InvalidRequest in the engine's names."""
        given = {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}
        wanted = read_format(self.__dict__)
        if wanted:
            given[wanted.param] = wanted.value
        return SamplingParams(**{"max_tokens": None, **given, **others})


class CompletionBody(GenerationBody):
    """``POST /v1/completions``."""

    prompt: SkipValidation[str | list[str] | list[int] | list[list[int]]]
    best_of: Whole = None
    echo: Flag = None
    logprobs: Whole = None

    @property
    def is_echoed(self) -> bool:
        """Whether the prompt stands before each answer."""
        return bool(self.echo)

    def completion_params(self, prompts: int, default_max_tokens: int) -> SamplingParams:
        """The parameters for the engine, the same for all `prompts`; raises InvalidRequest."""
        if self.echo is not None:
            need_flag("echo", self.echo)
        if self.stream and self.best_of is not None and self.best_of != (self.n or 1):
            refuse("best_of", "cannot be streamed; ask for it without stream.")
        wanted = None if self.logprobs is False else self.logprobs
        others = {"best_of": self.best_of, "logprobs": wanted}
        if self.max_tokens is None:
            others["max_tokens"] = max(default_max_tokens, _whole(self.min_tokens))
        if self.is_echoed and wanted is not None and self.prompt_logprobs is None:
            others["prompt_logprobs"] = wanted
        params = self.sampling_params(**others)
        count = prompts * params.choices
        if count > MAX_ANSWERS:
            name = "n" if self.best_of is None else "best_of"
            refuse(name, f"makes {count} answers of all prompts; {MAX_ANSWERS} are the most.")
        return params

    def prompts(self) -> list[str | list[int]]:
        """Each prompt; raises InvalidRequest when there is none or there are too many."""
        prompt: Any = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        if not isinstance(prompt, list):
            refuse("prompt", f"is {shown(prompt)}; it has to be a string, or a list of them.")
        if not prompt:
            refuse("prompt", "is empty; give it some text.")
        if isinstance(prompt[0], int):
            return [_token_ids(prompt)]
        if len(prompt) > MAX_PROMPTS:
            refuse("prompt", f"holds {len(prompt)} prompts; {MAX_PROMPTS} are the most at once.")
        if isinstance(prompt[0], str):
            return [_text(item) for item in prompt]
        return [_token_ids(item) for item in prompt]


def _whole(value: object) -> int:
    """`value` where it is a number that will not be refused."""
    return value if isinstance(value, int) and 0 <= value <= MAX_TOKENS else 0


def _text(value: object) -> str:
    if not isinstance(value, str):
        refuse("prompt", f"holds {shown(value)} among strings; give it prompts of one kind.")
    return value


def _token_ids(value: object) -> list[int]:
    if not isinstance(value, list):
        refuse("prompt", f"holds {shown(value)} among token ids; give it prompts of one kind.")
    if set(map(type, value)) - {int}:
        wrong = next(item for item in value if type(item) is not int)
        refuse("prompt", f"holds {shown(wrong)} among token ids; give it prompts of one kind.")
    return value


@contextmanager
def callers_words(names: Mapping[str, str]) -> Iterator[None]:
    """What is refused within is refused under the `names` that the caller gave to parameters."""
    try:
        yield
    except InvalidRequest as error:
        name = names.get(error.param or "")
        if not error.param or name is None:
            raise
        message = str(error)
        if message.startswith(f"{error.param} "):
            message = name + message.removeprefix(error.param)
        raise InvalidRequest(message, param=name) from error
