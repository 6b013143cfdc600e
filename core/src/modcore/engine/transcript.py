"""From the tokens of one answer to pieces that may be shown."""

from __future__ import annotations

from collections.abc import Sequence

from modcore.engine.answers import FinishReason, Piece
from modcore.engine.detokenizer import Detokenizer, StopStrings
from modcore.engine.sampling import TokenLogprob


class Transcript:
    """The text of choice `index`.

    Without a `detokenizer` (a checkpoint that brings no tokenizer) the text stays empty. With
    `has_logprobs` each piece carries those of its tokens.
    """

    def __init__(
        self,
        index: int,
        stops: Sequence[str],
        detokenizer: Detokenizer | None,
        *,
        has_logprobs: bool,
    ) -> None:
        self.index = index
        self.length = 0  # tokens, the one that ended it included
        self.is_done = False
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops)
        self._token_ids: list[int] = []  # not shown yet, and their log probabilities
        self._logprobs: list[TokenLogprob] | None = [] if has_logprobs else None

    def push(
        self, token: int, logprob: TokenLogprob | None, reason: FinishReason | None
    ) -> Piece | None:
        """Take the next token, with what it ended the answer for; the piece that can be shown now."""
        self.length += 1
        self._token_ids.append(token)
        if self._logprobs is not None and logprob is not None:
            self._logprobs.append(logprob)
        if reason == "stop":  # a token that ends an answer is no part of its text
            return self._last("stop")
        text, stopped = self._stops.push(self._detokenizer.push(token) if self._detokenizer else "")
        if stopped:
            return self._show(text, "stop")
        if reason:
            return self._last(reason, text)
        return self._show(text) if text else None

    def abort(self) -> Piece:
        """End the answer as it is."""
        return self._show("", "abort")

    def _last(self, reason: FinishReason, text: str = "") -> Piece:
        rest, stopped = self._stops.push(self._detokenizer.flush() if self._detokenizer else "")
        return self._show(text + rest + self._stops.flush(), "stop" if stopped else reason)

    def _show(self, text: str, reason: FinishReason | None = None) -> Piece:
        self.is_done = reason is not None
        piece = Piece(text, self._token_ids, reason, index=self.index, logprobs=self._logprobs)
        self._token_ids = []
        self._logprobs = None if self._logprobs is None else []
        return piece
