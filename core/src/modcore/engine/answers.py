"""What comes out of the engine: pieces on the way, a whole generation in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from modcore.engine.sampling import TokenLogprob

#: ``abort`` is what ends an answer that nobody waits for any more.
FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written; `cached_tokens` of those read were in the prefix cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> dict[str, object]:
        """The usage as OpenAI shapes it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of choice `index`.

    The last piece of a choice carries its `finish_reason`; the last one of all carries the `usage`.
    `logprobs` belong to `token_ids`, when the request asked for them.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    index: int = 0
    logprobs: list[TokenLogprob] | None = None


@dataclass(slots=True)
class Choice:
    """One answer of those that a request asked for; `token_ids` include the one that ended it."""

    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] | None = None

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        self.text += piece.text
        self.token_ids += piece.token_ids
        self.finish_reason = piece.finish_reason
        if piece.logprobs is not None:
            self.logprobs = (self.logprobs or []) + piece.logprobs


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished request: its `choices` in order (one, unless `n` asked for more)."""

    choices: list[Choice]
    usage: Usage
    #: One entry for each prompt token, None for the first, when the request asked for them.
    prompt_logprobs: list[TokenLogprob | None] | None = None

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.choices[0].text

    @property
    def token_ids(self) -> list[int]:
        """The first choice's tokens."""
        return self.choices[0].token_ids

    @property
    def finish_reason(self) -> FinishReason:
        """What ended the first choice."""
        reason = self.choices[0].finish_reason
        assert reason is not None
        return reason

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """The first choice's log probabilities, when the request asked for them."""
        return self.choices[0].logprobs

    def to_json(self) -> dict[str, object]:
        """The answer as ``modcore generate --json`` prints it."""
        return {
            "text": self.text,
            "token_ids": self.token_ids,
            "finish_reason": self.finish_reason,
            "usage": self.usage.to_json(),
        }
