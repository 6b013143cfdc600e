"""One sequence of tokens on its way: what was asked, what has been written, which rows it holds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from modcore.engine.answers import FinishReason
from modcore.engine.features import Span
from modcore.engine.radix import Node
from modcore.engine.sampling import SamplingState
from modcore.errors import ModcoreError


@dataclass(slots=True)
class Moments:
    """When a request arrived, started, wrote its first and its last token so far; `time.monotonic`."""

    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None
    last_token: float | None = None

    def start(self) -> None:
        """It starts; after a pause it has started already."""
        if self.started is None:
            self.started = time.monotonic()

    def write(self) -> None:
        """It writes a token."""
        self.last_token = time.monotonic()
        if self.first_token is None:
            self.first_token = self.last_token


class Request:
    """What the scheduler runs; a caller's request for `n` answers makes `n` of these.

    `limit` is the number of tokens that it may write. One with a `leader` starts when the leader,
    which has the same prompt, has read it. A lower `priority` goes first.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        limit: int,
        sampling: SamplingState,
        *,
        priority: int = 0,
        leader: Request | None = None,
        uses_prefix_cache: bool = True,
        reads_at_once: bool = False,
        prompt_logprobs: int | None = None,
        spans: Sequence[Span] = (),
    ) -> None:
        self.tokens = list(prompt_ids)
        self.prompt_length = len(self.tokens)
        self.limit = limit
        self.sampling = sampling
        self.priority = priority
        self.leader = leader
        self.uses_prefix_cache = uses_prefix_cache
        self.reads_at_once = reads_at_once  # its prompt must not be cut into chunks
        self.spans = tuple(spans)  # of the prompt, with features
        self.prompt_logprobs = prompt_logprobs  # likeliest tokens to tell of at each of its places
        self.finish_reason: FinishReason | None = None
        self.error: ModcoreError | None = None
        self.has_end_token = False  # the last token ended the answer, and is no part of it
        self.was_stopped = False  # by its text, or because nobody waits for it any more
        self.moments = Moments()

        # The scheduler's
        self.arrival = 0
        self.overtaken = 0  # times that another started first which had come later
        self.was_paused = False
        self.line = -1  # in the request table, while it runs
        self.rows_held = 0  # in the KV cache
        self.rows_filled = 0  # of those, how many hold a token's keys and values
        self.rows_shared = 0  # of those, how many belong to the prefix cache
        self.cached_tokens = 0  # of the prompt, found in the prefix cache
        self.node: Node | None = None  # where the shared part ends

    @property
    def written(self) -> int:
        """How many tokens it has written."""
        return len(self.tokens) - self.prompt_length

    @property
    def max_length(self) -> int:
        """Tokens that it may have in the end, read and written."""
        return self.prompt_length + self.limit

    @property
    def tokens_to_read(self) -> int:
        """Tokens whose keys and values are not computed yet; 1 in a decode step."""
        return len(self.tokens) - self.rows_filled

    @property
    def has_read_prompt(self) -> bool:
        """Whether the prompt's keys and values are there."""
        return self.rows_filled >= self.prompt_length

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether all logits of what it reads next are asked for."""
        return self.prompt_logprobs is not None and not self.has_read_prompt

    @property
    def waits_for_leader(self) -> bool:
        """Whether the prompt that it shares is still being read."""
        leader = self.leader
        return leader is not None and not leader.is_done and not leader.has_read_prompt

    @property
    def is_done(self) -> bool:
        """Whether it writes no more."""
        return self.was_stopped or self.finish_reason is not None or self.error is not None

    def accept(self, token: int) -> None:
        """Take the next token; decides whether it ends the answer.

        Raises StepFailed when the request's grammar does not allow it.
        """
        self.moments.write()
        ends = self.sampling.ends(token)
        self.tokens.append(token)
        self.sampling.accept(token)
        self.has_end_token = ends
        if ends or self.sampling.is_complete:
            self.finish_reason = "stop"
        elif self.written >= self.limit:
            self.finish_reason = "length"
