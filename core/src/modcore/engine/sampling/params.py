"""What a request asks of sampling; names and meanings are OpenAI's and vLLM's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modcore.engine.sampling.checks import need_flag, need_integer, need_number, refuse, shown
from modcore.engine.sampling.schema import schema_text

MAX_TOKENS = 1_000_000
MAX_TEMPERATURE = 1000.0
#: Below it a temperature is 0, as in vLLM: dividing by it would overflow.
GREEDY_BELOW = 1e-5
MAX_CHOICES = 128
MAX_LOGPROBS = 20
MAX_BIASES = 1024
MAX_BIAS = 100.0
MAX_STOP_STRINGS = 64
MAX_STOP_LENGTH = 256  # characters
MAX_STOP_TOKENS = 256
MAX_REGEX = 4096  # characters
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """What a request asks for.

    max_tokens:  tokens to generate at most; None: until the context is full.
    min_tokens:  until so many are generated, no token may end the answer.
    temperature: 0 takes the likeliest token, 1 samples from the model's own distribution.
    top_k:       sample from the k likeliest tokens (and those as likely as the last); 0 or -1: from all.
    top_p:       sample from the likeliest tokens that together hold this probability.
    min_p:       sample from tokens at least this fraction as likely as the likeliest.
    typical_p:   sample from the most typical tokens that together hold this probability.
    repetition_penalty: logits of tokens in prompt or answer are divided by it (multiplied if negative).
    presence_penalty, frequency_penalty: taken from the logits of generated tokens, once, or for each
        time; tokens of the prompt do not count (OpenAI's meaning).
    logit_bias:  token id to a number from -100 to 100 that is added to its logit.
    seed:        the same seed draws the same numbers, whatever else is in the batch.
    stop:        strings that end the answer; they are not part of it.
    stop_token_ids: tokens that end the answer beside the model's own.
    ignore_eos:  the model's own end tokens do not end the answer.
    n, best_of:  answers to return, and to generate for choosing the n likeliest among them. With
        temperature 0 they are all equal (vLLM refuses that; OpenAI does not).
    logprobs:    log probabilities of each generated token and of so many likeliest; None: none.
    prompt_logprobs: the same for the tokens of the prompt.
    json_schema: the answer is JSON of this schema; a dict, or JSON text, as which it is kept.
    regex:       the whole answer matches this expression (Rust's syntax: no look-around, no references).
    prefix_cache: whether what is computed for the prompt may be taken from others, and kept for others.

    Raises InvalidRequest, which names the parameter, for a value out of range.
    """

    max_tokens: int | None = 16
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | None = field(default=None, hash=False)
    seed: int | None = None
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    n: int = 1
    best_of: int | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    json_schema: str | Mapping[str, Any] | None = None
    regex: str | None = None
    prefix_cache: bool = True

    def __post_init__(self) -> None:
        self._verify_lengths()
        self._verify_distribution()
        self._verify_choices()
        need_flag("ignore_eos", self.ignore_eos)
        need_flag("prefix_cache", self.prefix_cache)
        for name, value in (
            ("stop", _stop_strings(self.stop)),
            ("stop_token_ids", _token_ids(self.stop_token_ids)),
            ("logit_bias", _biases(self.logit_bias)),
            ("json_schema", None if self.json_schema is None else schema_text(self.json_schema)),
        ):
            object.__setattr__(self, name, value)
        self._verify_regex()

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature < GREEDY_BELOW

    @property
    def choices(self) -> int:
        """How many answers are generated: `best_of`, or `n`."""
        return self.n if self.best_of is None else self.best_of

    @property
    def is_constrained(self) -> bool:
        """Whether a schema or an expression says what the answer looks like."""
        return self.json_schema is not None or self.regex is not None

    def _verify_lengths(self) -> None:
        if self.max_tokens is not None:
            need_integer("max_tokens", self.max_tokens, 1, MAX_TOKENS)
        need_integer("min_tokens", self.min_tokens, 0, MAX_TOKENS)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            refuse(
                "min_tokens",
                f"is {self.min_tokens}, more than max_tokens ({self.max_tokens}); lower it.",
            )

    def _verify_distribution(self) -> None:
        need_number("temperature", self.temperature, 0, MAX_TEMPERATURE)
        for name in ("top_p", "typical_p"):
            need_number(name, getattr(self, name), 0, 1, above=True)
        need_integer("top_k", self.top_k, -1, _MAX_ID)
        need_number("min_p", self.min_p, 0, 1)
        need_number("repetition_penalty", self.repetition_penalty, 0.01, 100)
        for name in ("presence_penalty", "frequency_penalty"):
            need_number(name, getattr(self, name), -2, 2)
        if self.seed is not None:
            need_integer("seed", self.seed, -(2**63), 2**63 - 1)

    def _verify_choices(self) -> None:
        need_integer("n", self.n, 1, MAX_CHOICES)
        if self.best_of is not None:
            need_integer("best_of", self.best_of, 1, MAX_CHOICES)
            if self.best_of < self.n:
                refuse("best_of", f"is {self.best_of}, less than n ({self.n}); raise it.")
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is not None:
                need_integer(name, getattr(self, name), 0, MAX_LOGPROBS)

    def _verify_regex(self) -> None:
        if self.regex is None:
            return
        if not isinstance(self.regex, str) or not self.regex:
            refuse("regex", f"is {shown(self.regex)}; it has to be an expression as a string.")
        if len(self.regex) > MAX_REGEX:
            refuse("regex", f"has {len(self.regex)} characters; {MAX_REGEX} are the most.")
        if self.json_schema is not None:
            refuse("regex", "comes with a json_schema; an answer can follow one of them only.")


def _stop_strings(stop: object) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, (list, tuple)):
        refuse("stop", f"is {shown(stop)}; it has to be a string, or a list of strings.")
    if len(strings) > MAX_STOP_STRINGS:
        refuse("stop", f"has {len(strings)} strings; {MAX_STOP_STRINGS} are the most.")
    for item in strings:
        if not isinstance(item, str) or not item:
            refuse("stop", f"holds {shown(item)}; it takes strings that are not empty.")
        if len(item) > MAX_STOP_LENGTH:
            refuse("stop", f"holds a string of {len(item)} characters; {MAX_STOP_LENGTH} at most.")
    return tuple(strings)


def _token_ids(ids: object) -> tuple[int, ...]:
    name = "stop_token_ids"
    if not isinstance(ids, (list, tuple)):
        refuse(name, f"is {shown(ids)}; it has to be a list of token ids.")
    if len(ids) > MAX_STOP_TOKENS:
        refuse(name, f"has {len(ids)} tokens; {MAX_STOP_TOKENS} are the most.")
    for item in ids:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= _MAX_ID:
            refuse(name, f"holds {shown(item)}; it takes token ids.")
    return tuple(ids)


def _biases(biases: object) -> dict[int, float] | None:
    """The biases by token id; a JSON object's keys are strings, so strings of digits are taken."""
    name = "logit_bias"
    if biases is None:
        return None
    if not isinstance(biases, Mapping):
        refuse(name, f"is {shown(biases)}; it has to map token ids to numbers.")
    if len(biases) > MAX_BIASES:
        refuse(name, f"has {len(biases)} entries; {MAX_BIASES} are the most.")
    result: dict[int, float] = {}
    for key, bias in biases.items():
        token = key
        if isinstance(key, str) and len(key) <= 10 and key.isascii() and key.isdecimal():
            token = int(key)
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token <= _MAX_ID:
            refuse(name, f"has the key {shown(key)}; keys have to be token ids.")
        result[token] = float(need_number(name, bias, -MAX_BIAS, MAX_BIAS))
    return result
