"""What a caller asked for: one prompt and its answers, from the first token to the last piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from modcore.engine.answers import Choice, FinishReason, Generation, Piece, Usage
from modcore.engine.request import Moments, Request
from modcore.engine.sampling import TokenLogprob
from modcore.engine.transcript import Transcript
from modcore.errors import ModcoreError, StepFailed


@dataclass(frozen=True, slots=True)
class Event:
    """What a step did to a request: a token, an error, or (neither) that it was aborted.

    A token `is_text` unless it only ends the answer.
    """

    request: Request
    token: int | None = None
    logprob: TokenLogprob | None = None
    finish_reason: FinishReason | None = None
    is_text: bool = True
    error: ModcoreError | None = None


class Job:
    """The answers of one caller, of which the `wanted` likeliest are shown.

    Pieces go to `deliver`, and so does the error that ends the job. Events are handled one at a
    time, by whoever turns tokens into text; the requests belong to whoever takes the steps.
    """

    def __init__(
        self, requests: Sequence[Request], transcripts: Sequence[Transcript], wanted: int
    ) -> None:
        self.requests = list(requests)
        self.wanted = wanted
        self.error: ModcoreError | None = None
        self.is_done = False
        self.written = 0  # tokens of all answers
        self.prompt_logprobs: list[TokenLogprob | None] | None = None
        self.deliver: Callable[[Piece | ModcoreError], None] = lambda _: None
        self._transcripts = dict(zip(requests, transcripts, strict=True))
        self._held_back = {t.index: Choice(t.index) for t in transcripts}  # while they are ranked

    @property
    def usage(self) -> Usage:
        """Tokens read, once for all answers, and written, those of all answers."""
        first = self.requests[0]
        return Usage(first.prompt_length, self.written, first.cached_tokens)

    @property
    def moments(self) -> Moments:
        """When its first answer arrived, started and began to be written, and when the last one ended."""
        each = [request.moments for request in self.requests]
        ends = [moments.last_token for moments in each if moments.last_token is not None]
        first = each[0]
        return Moments(first.arrived, first.started, first.first_token, max(ends, default=None))

    def has_ended(self, request: Request) -> bool:
        """Whether the text of `request` has ended, so that its events change nothing any more."""
        return self.is_done or self._transcripts[request].is_done

    def handle(self, event: Event) -> None:
        """Deliver what follows from `event`."""
        if self.has_ended(event.request):
            return
        transcript = self._transcripts[event.request]
        if event.error:
            self.fail(event.error)
            return
        try:
            if event.token is None:
                piece: Piece | None = transcript.abort()
            else:
                self.written += 1
                piece = transcript.push(
                    event.token, event.logprob, event.finish_reason, is_text=event.is_text
                )
        except Exception as error:  # a tokenizer may raise on any token
            self.fail(step_failed(error))
            return
        if piece:
            if piece.finish_reason:
                event.request.was_stopped = True
            self._show(piece)

    def note_prompt(self, place: int, records: Sequence[TokenLogprob]) -> None:
        """Keep the log probabilities of the prompt's tokens behind `place`."""
        if self.prompt_logprobs is None:
            self.prompt_logprobs = [None]
        if len(self.prompt_logprobs) < place + 1 + len(records):  # a paused prompt is read again
            self.prompt_logprobs = [*self.prompt_logprobs[: place + 1], *records]

    def _show(self, piece: Piece) -> None:
        is_last = all(transcript.is_done for transcript in self._transcripts.values())
        if self.wanted == len(self.requests):
            self.deliver(replace(piece, usage=self.usage) if is_last else piece)
        else:
            self._held_back[piece.index].add(piece)
            if is_last:
                self._deliver_best()
        self.is_done = is_last  # once all is delivered: whoever waits for it finds the last piece

    def _deliver_best(self) -> None:
        """The likeliest answers of all that were written (`best_of`)."""
        best = sorted(self._transcripts.values(), key=lambda each: -each.mean_logprob)
        for index, transcript in enumerate(best[: self.wanted]):
            choice = self._held_back[transcript.index]
            usage = self.usage if index == self.wanted - 1 else None
            self.deliver(
                Piece(
                    choice.text,
                    choice.token_ids,
                    choice.finish_reason,
                    usage,
                    index,
                    choice.logprobs,
                )
            )

    def fail(self, error: ModcoreError) -> None:
        """End the job with `error`; does nothing when it has ended."""
        if self.is_done:
            return
        self.error = error
        for request in self.requests:
            request.was_stopped = True
        try:
            self.deliver(error)
        finally:
            self.is_done = True


class Collector:
    """Keeps what a job delivers, for a caller who wants it whole."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.pieces: deque[Piece] = deque()
        job.deliver = self._put

    def _put(self, item: Piece | ModcoreError) -> None:
        if isinstance(item, Piece):
            self.pieces.append(item)

    def generation(self) -> Generation:
        """The whole answer; raises the error that ended it."""
        if self.job.error:
            raise self.job.error
        return as_generation(self.pieces, self.job)


def as_generation(pieces: Iterable[Piece], job: Job) -> Generation:
    """The answer whose pieces have all come."""
    choices = [Choice(index) for index in range(job.wanted)]
    for piece in pieces:
        choices[piece.index].add(piece)
    return Generation(choices, job.usage, job.prompt_logprobs)


def step_failed(error: BaseException) -> StepFailed:
    """What a caller is told of `error`, which is its cause."""
    failure = StepFailed(f"The step failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
