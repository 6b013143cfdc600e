"""The engine: takes prompts, runs steps, hands out answers."""

from __future__ import annotations

import difflib
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from modcore.checkpoint import checkpoint_directory
from modcore.engine.admission import LengthEstimator
from modcore.engine.answers import Generation, Piece
from modcore.engine.batch import make_batch
from modcore.engine.building import build_model
from modcore.engine.job import Collector, Event, Job, step_failed
from modcore.engine.memory import RequestTable
from modcore.engine.model import TpPartBaseModel
from modcore.engine.preparing import Preparer
from modcore.engine.prompts import Prompt, PromptReader, as_params, as_prompts
from modcore.engine.radix import PrefixCache
from modcore.engine.request import Request
from modcore.engine.sampling import SamplingParams, TokenLogprob, prompt_logprobs, sample
from modcore.engine.scheduler import Chunks, Scheduler
from modcore.engine.state import InferStateInfo, Tap
from modcore.engine.stats import EngineStats
from modcore.engine.tokenizer import Tokenizer
from modcore.errors import EngineClosed, InvalidRequest, ModcoreError, StepFailed
from modcore.plugins import BuildOptions


class Engine:
    """A model, its tokenizer and its scheduler; a context manager that closes it.

    Several threads may use one engine: each step is taken under a lock by someone who waits for an
    answer, and the pieces go to whom they belong.
    """

    def __init__(
        self,
        model: TpPartBaseModel,
        prompts: PromptReader,
        *,
        prefix_cache: bool = True,
        lengths: LengthEstimator | None = None,
        chunks: Chunks = Chunks(),  # noqa: B008  frozen
    ) -> None:
        self.model = model
        self.preparer = Preparer(model, prompts)
        memory = model.mem_manager
        self.scheduler = Scheduler(
            memory,
            RequestTable(model.options.max_batch),
            cache=PrefixCache(memory) if prefix_cache and model.keys_are_reusable else None,
            lengths=lengths if model.keys_are_reusable else None,
            chunks=chunks,
        )
        self._lock = threading.RLock()  # of the scheduler and the model
        self._writing = threading.Lock()  # of the jobs' texts
        self._events: deque[tuple[Job, Event]] = deque()
        self._jobs: dict[Request, Job] = {}
        self._is_closed = False
        self._prompt_tokens = self._generation_tokens = 0

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        dtype: str = "auto",
        weights: str | None = None,
        layers: str | None = None,
        kv_tokens: int | None = None,
        max_batch: int = 64,
        context_length: int | None = None,
        prefix_cache: bool = True,
        lengths: LengthEstimator | None = None,
    ) -> Self:
        """The engine for the checkpoint directory `path`.

        `dtype` is ``auto`` (the checkpoint's), ``float32`` or ``bfloat16``; `weights` and `layers`
        name registered variants of the family's parts, such as ``int8``; `kv_tokens` bounds the
        tokens in the KV cache (default: as many as fit); `max_batch` those decoded together;
        `context_length` bounds prompt and answer together (default: what the checkpoint says);
        `prefix_cache` keeps what has been read for prompts that begin alike; `lengths` estimates
        how long answers become (see `engine.admission`).

        Raises CheckpointError when the checkpoint cannot be used, ModelNotServed when no installed
        plugin serves it, PluginError when the plugin is broken, InvalidRequest for a wrong option.
        """
        directory = checkpoint_directory(path)
        options = BuildOptions(
            path=directory,
            dtype=dtype,
            weights=weights,
            layers=layers,
            kv_tokens=kv_tokens,
            max_batch=max_batch,
            context_length=context_length,
        )
        prompts = PromptReader(directory)
        prompts.load_ahead()
        return cls(build_model(options), prompts, prefix_cache=prefix_cache, lengths=lengths)

    @property
    def max_length(self) -> int:
        """The context: prompt and answer together, in tokens."""
        return self.model.context_length

    @property
    def capacity(self) -> int:
        """The most tokens that one request can have: the context, or the KV cache if it is smaller."""
        return self.preparer.capacity

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return self.preparer.eos_token_ids

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer; raises CheckpointError when there is none or it cannot be read."""
        return self.preparer.prompts.tokenizer

    def encode(self, prompt: Prompt) -> list[int]:
        """The token ids of `prompt`; raises InvalidRequest when it is empty."""
        return self.preparer.prompts.encode(prompt)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[Generation]:
        """Answer `prompts` together, as a batch; the results are in their order.

        `params` is one for all, or one each. Raises InvalidRequest when a prompt is empty or longer
        than the context.
        """
        many = as_prompts(prompts)
        each = as_params(params, len(many))
        jobs = [self.prepare(*pair) for pair in zip(many, each, strict=True)]
        collectors = [Collector(job) for job in jobs]
        try:
            for job in jobs:
                self.submit(job)
            for job in jobs:
                while not job.is_done:
                    self.step()
            return [collector.generation() for collector in collectors]
        finally:
            for job in jobs:
                self.abort(job)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Piece]:
        """Answer `prompt` piece by piece; the pieces' texts, joined, are the answer's text.

        Leaving the loop early ends the request. Raises InvalidRequest at once, as `generate` does.
        """
        return self._stream(self.prepare(prompt, params or SamplingParams()))

    def _stream(self, job: Job) -> Iterator[Piece]:
        collector = Collector(job)
        self.submit(job)
        try:
            while not job.is_done or collector.pieces:
                pieces, collector.pieces = collector.pieces, []
                yield from pieces
                if not job.is_done:
                    self.step()
            if job.error:
                raise job.error
        finally:
            self.abort(job)

    def logits(
        self, token_ids: Sequence[int], taps: Mapping[str, Tap] | None = None
    ) -> torch.Tensor:
        """The logits of every position of `token_ids`, ``[len, vocab]`` float32.

        `taps` read or replace the activations at named points (see `engine.layers.template`); a
        name that is no point of this model is refused.
        """
        self._verify_taps(taps or {})
        request = self.preparer.bare(self.encode(token_ids))
        with self._lock:
            self._verify_open()
            try:
                if not self.scheduler.start_whole(request):
                    raise ModcoreError(
                        "The KV cache is taken by running requests; wait for them to end."
                    )
                ids, state = self._batch([request])
                state.logit_index = torch.arange(len(ids), device=ids.device)
                state.taps = dict(taps or {})
                # A copy outside inference mode: the caller may change it in place.
                return self.model.forward(ids, state).clone()
            finally:
                request.was_stopped = True
                self.scheduler.finish(request)

    def close(self) -> None:
        """End what still runs with an error, and take nothing new; harmless when it is closed."""
        with self._lock:
            self._is_closed = True
            jobs = set(self._jobs.values())
            for job in jobs:
                self.abort(job, EngineClosed("The engine has been closed."))
            self.scheduler.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What a server uses: jobs prepared anywhere, steps taken by one thread, texts written by another.

    def prepare(self, prompt: Prompt, params: SamplingParams, priority: int = 0) -> Job:
        """A job for `prompt`, not queued yet; one of lower `priority` starts first.

        Raises InvalidRequest when the prompt is empty, does not fit, or holds an unknown token.
        """
        return self.preparer.prepare(prompt, params, priority)

    def submit(self, job: Job) -> None:
        """Queue `job`; raises EngineClosed after `close`."""
        with self._lock:
            self._verify_open()
            for request in job.requests:
                self._jobs[request] = job
                self.scheduler.add(request)

    def abort(self, job: Job, error: ModcoreError | None = None) -> None:
        """End a job, with `error` if there is one, and free what it holds; harmless when it has ended."""
        with self._lock:
            for request in job.requests:
                if self._jobs.pop(request, None) is None:
                    continue
                request.was_stopped = True
                self.scheduler.finish(request)
                self._events.append((job, Event(request, error=error)))
        self.write()

    def step(self) -> None:
        """One step for all requests that can take one; their pieces are delivered."""
        self.compute()
        self.write()

    def compute(self) -> None:
        """The part of a step that needs the model."""
        with self._lock:
            for request in [each for each in self._jobs if each.was_stopped]:
                self._end(request)
            requests = self.scheduler.plan().requests
            try:
                if requests:
                    self._advance(requests)
            except Exception as error:
                for request in requests:
                    self._fail(request, step_failed(error))

    def write(self) -> None:
        """Turn the tokens that steps have left into text, and deliver it."""
        with self._writing:
            while self._events:
                job, event = self._events.popleft()
                job.handle(event)

    def stats(self) -> EngineStats:
        """What the engine is doing, and what it has done so far."""
        scheduler, cache = self.scheduler, self.scheduler.cache
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_tokens_total=scheduler.memory.tokens,
            kv_tokens_used=scheduler.tokens_in_use,
            kv_tokens_cached=cache.evictable_tokens if cache else 0,
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=self._generation_tokens,
            prefix_query_tokens_total=cache.queried_tokens if cache else 0,
            prefix_hit_tokens_total=cache.hit_tokens if cache else 0,
            preemptions_total=scheduler.preemptions,
        )

    def _advance(self, requests: list[Request]) -> None:
        ids, state = self._batch(requests)
        readers = [each for each in requests if each.wants_prompt_logprobs]
        writers = [each for each in requests if each.rows_held == len(each.tokens)]
        state.logit_index = self._logit_index(requests, readers, writers, state)
        logits = self.model.forward(ids, state)
        for request in readers:
            count = request.rows_held - request.rows_filled
            self._read_logprobs(request, logits[:count])
            logits = logits[count:]
        sampled = sample(logits, [request.sampling for request in writers])
        failed = dict(zip(writers, sampled.errors, strict=True))
        failed.update((each, each.error) for each in readers if isinstance(each.error, StepFailed))
        for request in requests:
            if not failed.get(request):  # what is not finite must not be shared
                self.scheduler.advance(request)
        for request, error in failed.items():
            if error:
                self._fail(request, error)
        for request, token, logprob in zip(writers, sampled.tokens, sampled.logprobs, strict=True):
            if not failed[request]:
                self._write_token(request, token, logprob)

    def _logit_index(
        self,
        requests: list[Request],
        readers: list[Request],
        writers: list[Request],
        state: InferStateInfo,
    ) -> torch.Tensor:
        """The tokens whose logits are needed: all that the `readers` read, the last of the `writers`."""
        places = {request: place for place, request in enumerate(requests)}
        last = state.logit_index[[places[request] for request in writers]]
        spans = [
            torch.arange(request.rows_held - request.rows_filled, device=last.device)
            + state.b_start_loc[places[request]]
            for request in readers
        ]
        return torch.cat([*spans, last])

    def _read_logprobs(self, request: Request, logits: torch.Tensor) -> None:
        """Note how likely the prompt's tokens are that stand behind those read now."""
        assert request.prompt_logprobs is not None
        start = request.rows_filled
        ids = request.tokens[start : min(request.rows_held + 1, request.prompt_length)]
        try:
            records = prompt_logprobs(logits, ids, request.prompt_logprobs)
        except StepFailed as error:
            request.error = error
            return
        self._jobs[request].note_prompt(start, records)

    def _write_token(self, request: Request, token: int, logprob: TokenLogprob | None) -> None:
        self._prompt_tokens += 0 if request.written else request.prompt_length
        self._generation_tokens += 1
        try:
            request.accept(token, logprob)
        except ModcoreError as error:
            self._fail(request, error)
            return
        is_text = not request.has_end_token
        self._tell(request, Event(request, token, logprob, request.finish_reason, is_text))
        if request.is_done:
            self._end(request)

    def _batch(self, requests: list[Request]) -> tuple[torch.Tensor, InferStateInfo]:
        scheduler = self.scheduler
        return make_batch(requests, self.model.infer_state_class, scheduler.memory, scheduler.table)

    def _fail(self, request: Request, error: ModcoreError) -> None:
        request.error = error
        self._tell(request, Event(request, error=error))
        self._end(request)

    def _tell(self, request: Request, event: Event) -> None:
        job = self._jobs.get(request)
        if job:
            self._events.append((job, event))

    def _end(self, request: Request) -> None:
        self._jobs.pop(request, None)
        self.scheduler.finish(request, is_complete=request.error is None)

    def _verify_open(self) -> None:
        if self._is_closed:
            raise EngineClosed("The engine has been closed; make a new one.")

    def _verify_taps(self, taps: Mapping[str, Any]) -> None:
        points = self.model.points()
        for name in taps:
            if name not in points:
                close = difflib.get_close_matches(name, points, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"points: {', '.join(points)}."
                raise InvalidRequest(f"{name!r} is no point of this model; {hint}", param="taps")
