"""One request on its way: what was asked, what has been generated, what may be shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from modcore.engine.detokenizer import Detokenizer, StopStrings
from modcore.engine.sampling import SamplingState, TokenLogprob
from modcore.errors import ModcoreError

#: ``abort`` is what ends an answer that nobody waits for any more.
FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> dict[str, int]:
        """The usage as OpenAI shapes it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished answer; `token_ids` are the generated ones, the one that ended it included."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    usage: Usage

    def to_json(self) -> dict[str, object]:
        """The answer as ``modcore generate --json`` prints it."""
        return {
            "text": self.text,
            "token_ids": self.token_ids,
            "finish_reason": self.finish_reason,
            "usage": self.usage.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer; the last one carries `finish_reason` and `usage`."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class Request:
    """A request's state. `limit` is the number of tokens that it may generate.

    Pieces go to `deliver`, and so does the error that ends it, by whichever thread takes the step.
    Without a `detokenizer` (a checkpoint that brings no tokenizer) its text stays empty.
    """

    def __init__(
        self,
        prompt_ids: list[int],
        sampling: SamplingState,
        limit: int,
        detokenizer: Detokenizer | None = None,
    ) -> None:
        self.params = sampling.params
        self.sampling = sampling
        self.limit = limit
        self.tokens = list(prompt_ids)
        self.prompt_length = len(prompt_ids)
        self.line = -1  # in the request table, while it runs
        self.rows_held = 0  # in the KV cache
        self.rows_filled = 0  # of those, how many hold a token's keys and values
        self.finish_reason: FinishReason | None = None
        self.error: ModcoreError | None = None
        self.deliver: Callable[[Piece | ModcoreError], None] = lambda _: None
        self._detokenizer = detokenizer
        self._stops = StopStrings(sampling.params.stop)
        self._unshown: list[int] = []

    @property
    def output_ids(self) -> list[int]:
        """The generated tokens."""
        return self.tokens[self.prompt_length :]

    @property
    def max_length(self) -> int:
        """Tokens that it may have in the end, read and written."""
        return self.prompt_length + self.limit

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.finish_reason is not None or self.error is not None

    @property
    def usage(self) -> Usage:
        """Tokens read and written."""
        return Usage(self.prompt_length, len(self.tokens) - self.prompt_length)

    def accept(self, token: int, record: TokenLogprob | None = None) -> None:
        """Take the next token; decides whether it ends the answer."""
        ends = self.sampling.ends(token)
        self.sampling.accept(token, record)
        self.tokens.append(token)
        self._unshown.append(token)
        if ends:
            self._finish("stop")
            return
        text, stopped = self._stops.push(self._detokenizer.push(token) if self._detokenizer else "")
        if stopped:
            self._show(text, "stop")
        elif self.sampling.is_complete:
            self._finish("stop", text)
        elif len(self.tokens) >= self.max_length:
            self._finish("length", text)
        elif text:
            self._show(text)

    def fail(self, error: ModcoreError) -> None:
        """End the answer with an error; does nothing when it has ended."""
        if not self.is_done:
            self.error = error
            self.deliver(error)

    def abort(self) -> None:
        """End the answer as it is; does nothing when it has ended."""
        if not self.is_done:
            self._show("", "abort")

    def _finish(self, reason: FinishReason, text: str = "") -> None:
        rest, stopped = self._stops.push(self._detokenizer.flush() if self._detokenizer else "")
        self._show(text + rest + self._stops.flush(), "stop" if stopped else reason)

    def _show(self, text: str, reason: FinishReason | None = None) -> None:
        self.finish_reason = reason
        piece = Piece(text, self._unshown, reason, self.usage if reason else None)
        self._unshown = []
        self.deliver(piece)
