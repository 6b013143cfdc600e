"""From what a caller asks to requests that can run: encoded, checked, with all that they carry."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

from modcore.engine.detokenizer import Detokenizer
from modcore.engine.features import verify_spans
from modcore.engine.job import Job
from modcore.engine.model import TpPartBaseModel
from modcore.engine.prompts import Prompt, PromptReader
from modcore.engine.request import Request
from modcore.engine.sampling import GrammarCompiler, SamplingParams, SamplingState
from modcore.engine.sampling.trial import Trials
from modcore.engine.transcript import Transcript
from modcore.errors import InvalidRequest, ModcoreError


class Preparer:
    """Makes jobs for `model`; safe from any thread, and it never waits for a step."""

    def __init__(
        self, model: TpPartBaseModel, prompts: PromptReader, *, shares_prompts: bool
    ) -> None:
        self.model = model
        self.shares_prompts = shares_prompts
        self.prompts = prompts
        self.eos_token_ids = self.prompts.eos_token_ids()
        self._trials = Trials()

    @property
    def capacity(self) -> int:
        """The most tokens that one request can have: the context, or the KV cache if it is smaller."""
        return min(self.model.context_length, self.model.mem_manager.tokens)

    def prepare(
        self,
        prompt: Prompt,
        params: SamplingParams,
        priority: int = 0,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Job:
        """The job for `prompt`, not queued yet.

        Raises InvalidRequest when the prompt is empty, does not fit, or holds an unknown token, and
        EngineClosed once `is_wanted` says that nobody waits for it any more.
        """
        reading = self.prompts.read(prompt, self.capacity, is_wanted)
        ids = reading.ids
        self.verify(ids, room=1)
        verify_spans(reading.spans, len(ids), self.model.config.hidden_size)
        rest = self.capacity - len(ids)
        if params.min_tokens > rest:
            raise InvalidRequest(
                f"min_tokens is {params.min_tokens}, and a prompt of {len(ids)} tokens leaves room for "
                f"{rest} in {self.capacity}; ask for fewer, or shorten the prompt.",
                param="min_tokens",
            )
        limit = rest if params.max_tokens is None else min(params.max_tokens, rest)
        shares = params.prefix_cache and self.shares_prompts
        requests: list[Request] = []
        for index in range(params.choices):
            request = Request(
                ids,
                limit,
                self._sampling(params, ids, index),
                priority=priority,
                leader=requests[0] if requests and shares else None,
                uses_prefix_cache=shares,
                reads_at_once=not self.model.keys_are_reusable,
                prompt_logprobs=None if requests else params.prompt_logprobs,
                spans=reading.spans,
            )
            requests.append(request)
        return Job(
            requests, [self._transcript(params, ids, i) for i in range(len(requests))], params.n
        )

    def bare(self, prompt: Prompt) -> Request:
        """A request that reads `prompt` and writes nothing."""
        reading = self.prompts.read(prompt, self.capacity)
        self.verify(reading.ids, room=0)
        verify_spans(reading.spans, len(reading.ids), self.model.config.hidden_size)
        sampling = self._sampling(SamplingParams(), reading.ids, 0)
        return Request(
            reading.ids,
            0,
            sampling,
            uses_prefix_cache=False,
            reads_at_once=True,
            spans=reading.spans,
        )

    def verify(self, ids: list[int], room: int) -> None:
        """Raise InvalidRequest unless `ids` fit, with `room` tokens behind them."""
        context = self.model.context_length
        if not ids:  # a tokenizer may make nothing of a text
            raise InvalidRequest("The prompt is empty; give it at least one token.", param="prompt")
        if len(ids) + room > context:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens, too many for a context of {context}"
                f"{' with room for an answer' if room else ''}; shorten it.",
                param="prompt",
            )
        if len(ids) + room > self.capacity:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens, too many for a KV cache of "
                f"{self.capacity}; shorten it, or give the engine more kv_tokens.",
                param="prompt",
            )
        vocab = self.model.vocab_size
        if min(ids) < 0 or max(ids) >= vocab:
            token = next(token for token in ids if not 0 <= token < vocab)
            raise InvalidRequest(
                f"The prompt holds {token!r}, which is not one of this model's {vocab} tokens.",
                param="prompt",
            )

    def is_quick(self, params: SamplingParams) -> bool:
        """Whether `params` bring nothing that has to be compiled first."""
        grammars = self.__dict__.get("_grammars")  # not made for the question
        return not params.is_constrained or (grammars is not None and grammars.has(params))

    def close(self) -> None:
        """End what this object has started; harmless when it is closed."""
        self._trials.close()

    def warm_up(self) -> None:
        """Make now what the first request would wait for; text that cannot be read is left to that request.

        Raises CheckpointError when what reads more than text cannot be loaded.
        """
        if self.prompts.multimodal:
            self.prompts.multimodal.load()
        if self.prompts.has_tokenizer:
            with contextlib.suppress(ModcoreError):
                self._trials.start()  # first: it goes on by itself
            with contextlib.suppress(ModcoreError):
                self.prompts.encode("a")
                self.prompts.tokenizer.fast  # noqa: B018  what chat templates need
                self._grammars.compile(SamplingParams(regex="a"))

    @functools.cached_property
    def _grammars(self) -> GrammarCompiler:
        """What compiles constraints, made when the first request brings one."""
        tokenizer = self.prompts.tokenizer.fast
        vocab = self.model.vocab_size
        return GrammarCompiler(tokenizer, vocab, self.eos_token_ids, self._trials)

    def _sampling(self, params: SamplingParams, ids: list[int], index: int) -> SamplingState:
        constraint = self._grammars.compile(params) if params.is_constrained else None
        vocab = self.model.vocab_size
        return SamplingState(params, ids, vocab, self.eos_token_ids, constraint, index)

    def _transcript(self, params: SamplingParams, ids: list[int], index: int) -> Transcript:
        detokenizer = (
            Detokenizer(self.prompts.tokenizer.decode, ids) if self.prompts.has_tokenizer else None
        )
        return Transcript(
            index,
            params.stop,
            detokenizer,
            has_logprobs=params.logprobs is not None,
            min_tokens=params.min_tokens,
        )
