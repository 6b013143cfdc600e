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
        has_logprobs: bool = False,
        min_tokens: int = 0,
    ) -> None:
        self.index = index
        self.length = 0  # tokens, the one that ended it included
        self.is_done = False
        self._logprob_sum = 0.0
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops)
        self._min_tokens = min_tokens
        self._token_ids: list[int] = []  # not shown yet, and their log probabilities
        self._logprobs: list[TokenLogprob] | None = [] if has_logprobs else None

    def push(
        self,
        token: int,
        logprob: TokenLogprob | None,
        reason: FinishReason | None,
        *,
        is_text: bool = True,
    ) -> Piece | None:
        """Take the next token, with what it ended the answer for; the piece that can be shown now.

        A token that is not `is_text` ends the answer without being a part of its text.
        """
        self.length += 1
        self._token_ids.append(token)
        if logprob is not None:
            self._logprob_sum += logprob.logprob
            if self._logprobs is not None:
                self._logprobs.append(logprob)
        if not is_text:
            return self._last(reason or "stop")
        text = self._detokenizer.push(token) if self._detokenizer else ""
        text, stopped = self._scan(text)
        if stopped:
            return self._show(text, "stop")
        if reason:
            return self._last(reason, text)
        return self._show(text) if text or self._detokenizer is None else None

    def _scan(self, text: str) -> tuple[str, bool]:
        """What may be shown of `text`, and whether a stop string ends the answer."""
        return self._stops.push(text, may_stop=self.length > self._min_tokens)

    @property
    def mean_logprob(self) -> float:
        """The log probability of the answer, a token; where the tokens came with theirs."""
        return self._logprob_sum / max(1, self.length)

    def abort(self) -> Piece:
        """End the answer as it is."""
        return self._show("", "abort")

    def _last(self, reason: FinishReason, text: str = "") -> Piece:
        rest, stopped = self._scan(self._detokenizer.flush() if self._detokenizer else "")
        return self._show(text + rest + self._stops.flush(), "stop" if stopped else reason)

    def _show(self, text: str, reason: FinishReason | None = None) -> Piece:
        self.is_done = reason is not None
        piece = Piece(text, self._token_ids, reason, index=self.index, logprobs=self._logprobs)
        self._token_ids = []
        self._logprobs = None if self._logprobs is None else []
        return piece
