"""What one sequence carries from token to token: its random numbers, its counts, its grammar.

All of it lives here, none on a place in the batch: a request that is paused goes on as if it had not been.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from modcore.engine.sampling.checks import refuse
from modcore.engine.sampling.counts import TokenCounts
from modcore.engine.sampling.grammar import Constraint
from modcore.engine.sampling.params import SamplingParams

_DRAWN_AT_ONCE = 32  # random numbers; a call of the generator costs more than the numbers


class SamplingState:
    """The state of choice `index` of a request for `params`.

    `vocab_size` is the width of the logits, `eos_token_ids` are the model's own end tokens, and
    `constraint` is a grammar's matcher that belongs to this sequence alone. Raises InvalidRequest for
    a token id of `params` that the model does not have.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Sequence[int],
        vocab_size: int,
        eos_token_ids: Collection[int] = (),
        constraint: Constraint | None = None,
        index: int = 0,
    ) -> None:
        self.params = params
        self.index = index
        self.constraint = constraint
        self.generated = 0  # tokens accepted so far
        self._eos_token_ids = frozenset(eos_token_ids)
        self._end_ids = frozenset(params.stop_token_ids)
        if not params.ignore_eos:
            self._end_ids |= self._eos_token_ids
        _verify_ids("stop_token_ids", params.stop_token_ids, vocab_size)
        biases = params.logit_bias or {}
        _verify_ids("logit_bias", biases, vocab_size)
        self.bias_ids = np.fromiter(biases.keys(), np.int64, len(biases))
        self.bias_values = np.fromiter(biases.values(), np.float32, len(biases))
        self._end_mask = np.array(
            sorted(token for token in self._end_ids if 0 <= token < vocab_size), np.int64
        )
        self.counts = _counts(params, prompt_ids, vocab_size)
        self._generator: torch.Generator | None = None
        self._uniforms: list[float] = []  # drawn and not used yet, the next one last

    @property
    def masked_ids(self) -> NDArray[np.int64]:
        """The tokens that may not come now because `min_tokens` are not there yet, ``[masked]``.

        A grammar that has come to its end leaves nothing else, so then none are masked.
        """
        is_waiting = self.generated < self.params.min_tokens and not self.is_complete
        return self._end_mask if is_waiting else self._end_mask[:0]

    @property
    def edits_logits(self) -> bool:
        """Whether anything changes the model's logits before the temperature does."""
        return (
            self.counts is not None
            or self.constraint is not None
            or len(self.bias_ids) > 0
            or len(self.masked_ids) > 0
        )

    @property
    def top_logprobs(self) -> int | None:
        """How many likeliest tokens each record holds; None: no records are wanted."""
        if self.params.logprobs is None and self.params.choices > self.params.n:
            return 0  # the choice among answers needs the tokens' own
        return self.params.logprobs

    @property
    def is_complete(self) -> bool:
        """Whether the grammar allows nothing more: the last token has finished the answer."""
        return self.constraint is not None and self.constraint.is_complete

    @property
    def may_stop(self) -> bool:
        """Whether there are `min_tokens`; stop strings count from then on."""
        return self.generated >= self.params.min_tokens

    def ends(self, token: int) -> bool:
        """Whether `token`, if it comes next, ends the answer without being a part of it.

        Ask before `accept`. True for the model's end tokens (unless `ignore_eos`) and `stop_token_ids`,
        once there are `min_tokens`. At a grammar's end, an end token ends in any case.
        """
        if self.is_complete and token in self._eos_token_ids:
            return True
        return self.may_stop and token in self._end_ids

    def accept(self, token: int) -> None:
        """Take the chosen token.

        Raises StepFailed when the grammar does not allow it.
        """
        self.generated += 1
        if self.counts is not None:
            self.counts.add(token)
        if self.constraint is not None:
            self.constraint.accept(token)

    def uniform(self) -> float:
        """The sequence's next random number, in [0, 1)."""
        if not self._uniforms:
            if self._generator is None:
                self._generator = torch.Generator().manual_seed(self._seed())
            drawn = torch.rand(_DRAWN_AT_ONCE, generator=self._generator, dtype=torch.float64)
            self._uniforms = drawn.tolist()[::-1]
        return self._uniforms.pop()

    def _seed(self) -> int:
        seed = secrets.randbits(62) if self.params.seed is None else self.params.seed
        return seed + self.index


def _counts(
    params: SamplingParams, prompt_ids: Sequence[int], vocab_size: int
) -> TokenCounts | None:
    if params.repetition_penalty != 1:
        return TokenCounts([token for token in prompt_ids if 0 <= token < vocab_size])
    if params.presence_penalty or params.frequency_penalty:
        return TokenCounts()
    return None


def _verify_ids(name: str, ids: Collection[int], vocab_size: int) -> None:
    wrong = next((token for token in ids if token >= vocab_size), None)
    if wrong is not None:
        refuse(name, f"names token {wrong}; this model has tokens 0 to {vocab_size - 1}.")
