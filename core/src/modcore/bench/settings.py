"""What is to be measured: how many requests, how long, how many at a time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from random import Random
from typing import Self

from modcore.errors import InvalidRequest

MAX_CONCURRENCY = 1024
MAX_REQUESTS = 100_000
MAX_TOKENS = 1_000_000
_LEAST_REQUESTS = 8
_REQUESTS_EACH = 4  # for each that runs at the same time


@dataclass(frozen=True, slots=True)
class Lengths:
    """Numbers of tokens from `low` to `high`, each as likely as the others."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str, param: str) -> Self:
        """``"128"`` or ``"16-256"``; raises InvalidRequest, which names `param`."""
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text.strip(), re.ASCII)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= low <= high <= MAX_TOKENS:
            raise InvalidRequest(
                f"{text!r} is no length; give tokens from 1 to {MAX_TOKENS}, as 128 or 16-256.",
                param=param,
            )
        return cls(low, high)

    def draw(self, random: Random) -> int:
        """One of them."""
        return random.randint(self.low, self.high)

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run: a level for each of `concurrency`, one after the other.

    requests:      of each level; None: four for each that runs at the same time, eight at least.
    request_rate:  requests a second that arrive at random (Poisson); None: each as soon as one ends.
    shared_prefix: tokens with which all prompts begin; a part of their length.
    warmup:        requests before each level, not measured; None: as many as run at the same time.
    timeout:       seconds that one answer may take.
    text_prompts:  send words instead of token ids.

    Raises InvalidRequest, which names the parameter, for a value out of range.
    """

    concurrency: tuple[int, ...]
    prompt_tokens: Lengths
    output_tokens: Lengths
    seed: int
    requests: int | None = None
    request_rate: float | None = None
    shared_prefix: int = 0
    warmup: int | None = None
    timeout: float = 600.0
    text_prompts: bool = False

    def __post_init__(self) -> None:
        if not self.concurrency:
            raise InvalidRequest("there is none; give one or more, as 1,8,32.", param="concurrency")
        for level in self.concurrency:
            _need_between("concurrency", level, 1, MAX_CONCURRENCY)
        if len(set(self.concurrency)) < len(self.concurrency):
            raise InvalidRequest("one is given twice; give each once.", param="concurrency")
        if self.requests is not None:
            _need_between("requests", self.requests, 1, MAX_REQUESTS)
        if self.warmup is not None:
            _need_between("warmup", self.warmup, 0, MAX_REQUESTS)
        _need_positive("request_rate", self.request_rate)
        _need_positive("timeout", self.timeout)
        if not 0 <= self.shared_prefix < self.prompt_tokens.low:
            raise InvalidRequest(
                f"{self.shared_prefix} tokens cannot be shared by prompts of {self.prompt_tokens}; "
                "each needs at least one of its own.",
                param="shared_prefix",
            )

    def requests_at(self, concurrency: int) -> int:
        """The requests of the level `concurrency`."""
        return self.requests or max(_LEAST_REQUESTS, _REQUESTS_EACH * concurrency)

    def warmup_at(self, concurrency: int) -> int:
        """The requests before the level `concurrency`."""
        return concurrency if self.warmup is None else self.warmup

    def verify_context(self, context: int | None) -> None:
        """Raise InvalidRequest when a prompt and its answer are longer than `context` tokens."""
        longest = self.prompt_tokens.high + self.output_tokens.high
        if context is not None and longest > context:
            raise InvalidRequest(
                f"prompt and answer together have up to {longest} tokens, and the model takes "
                f"{context}; ask for fewer.",
                param="prompt_tokens",
            )

    def to_json(self) -> dict[str, object]:
        """The settings that hold for every level."""
        return {
            "prompt_tokens": str(self.prompt_tokens),
            "output_tokens": str(self.output_tokens),
            "shared_prefix": self.shared_prefix,
            "seed": self.seed,
            "timeout": self.timeout,
            "text_prompts": self.text_prompts,
        }


def _need_between(param: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidRequest(f"{value} is not from {low} to {high}.", param=param)


def _need_positive(param: str, value: float | None) -> None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise InvalidRequest(f"{value} is not a number above 0.", param=param)
