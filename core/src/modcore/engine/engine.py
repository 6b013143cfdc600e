"""The engine: takes prompts, runs steps, hands out answers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from modcore.checkpoint import checkpoint_directory
from modcore.engine.admission import LengthEstimator, length_estimator
from modcore.engine.answers import Generation, Piece
from modcore.engine.building import build_language_model, build_model
from modcore.engine.job import Collector, Job
from modcore.engine.memory import RequestTable
from modcore.engine.model import TpPartBaseModel
from modcore.engine.multimodal import MultimodalModel
from modcore.engine.preparing import Preparer
from modcore.engine.prompts import Prompt, PromptReader, as_params, as_prompts
from modcore.engine.radix import PrefixCache
from modcore.engine.sampling import SamplingParams
from modcore.engine.scheduler import Chunks, Scheduler
from modcore.engine.state import Tap
from modcore.engine.stats import EngineStats
from modcore.engine.stepper import Stepper
from modcore.engine.tokenizer import Tokenizer
from modcore.errors import InvalidRequest, ModcoreError
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
        shares_prompts = prefix_cache and model.keys_are_reusable
        self.preparer = Preparer(model, prompts, shares_prompts=shares_prompts)
        memory = model.mem_manager
        self.scheduler = Scheduler(
            memory,
            RequestTable(model.options.max_batch),
            cache=PrefixCache(memory) if shares_prompts else None,
            lengths=lengths if model.keys_are_reusable else None,
            chunks=chunks,
        )
        self.stepper = Stepper(model, self.scheduler)

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
        lengths: str | LengthEstimator = "full",
        vision: Mapping[str, Any] | None = None,
    ) -> Self:
        """The engine for the checkpoint directory `path`.

        `dtype` is ``auto`` (the checkpoint's), ``float32`` or ``bfloat16``; `weights` and `layers`
        name registered variants of the family's parts, such as ``int8``; `kv_tokens` bounds the
        tokens in the KV cache (default: as many as fit); `max_batch` those decoded together;
        `context_length` bounds prompt and answer together (default: what the checkpoint says);
        `prefix_cache` keeps what has been read for prompts that begin alike; `lengths` says how
        long answers are expected to become: ``full``, ``past-future`` or an estimator of your own (see
        `engine.admission`); `vision` holds options of a model that reads images (see
        `modcore.vision.VisionOptions`).

        Raises CheckpointError when the checkpoint cannot be used, ModelNotServed when no installed
        plugin serves it, PluginError when the plugin is broken, InvalidRequest for a wrong option.
        """
        options = BuildOptions(
            path=checkpoint_directory(path),
            dtype=dtype,
            weights=weights,
            layers=layers,
            kv_tokens=kv_tokens,
            max_batch=max_batch,
            context_length=context_length,
            vision=vision or {},
        )
        return cls._built(options, None, prefix_cache=prefix_cache, lengths=lengths)

    @classmethod
    def around(
        cls,
        multimodal: MultimodalModel,
        path: str | Path,
        prefix_cache: bool = True,
        lengths: str | LengthEstimator = "full",
        **options: Any,
    ) -> Self:
        """The engine for a model that has been made of the checkpoint directory `path`.

        It builds and runs the language model in it; the other options, and what is raised, are those
        of `from_pretrained`. Closing the engine closes `multimodal`.
        """
        built = BuildOptions(path=checkpoint_directory(path), **options)
        return cls._built(built, multimodal, prefix_cache=prefix_cache, lengths=lengths)

    @classmethod
    def _built(
        cls,
        options: BuildOptions,
        multimodal: MultimodalModel | None,
        *,
        prefix_cache: bool,
        lengths: str | LengthEstimator,
    ) -> Self:
        estimator = length_estimator(lengths) if isinstance(lengths, str) else lengths
        prompts = PromptReader(options.path)
        prompts.load_ahead()
        if multimodal is None:
            model, prompts.multimodal = build_model(options)
        else:
            model, prompts.multimodal = build_language_model(multimodal, options), multimodal
        return cls(model, prompts, prefix_cache=prefix_cache, lengths=estimator)

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
    def multimodal(self) -> MultimodalModel | None:
        """The model around the language model, of a checkpoint that reads more than text."""
        return self.preparer.prompts.multimodal

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
            while True:
                is_done = job.is_done  # asked first: a piece may come in between
                while collector.pieces:
                    yield collector.pieces.popleft()
                if is_done:
                    break
                self.step()
            if job.error:
                raise job.error
        finally:
            self.abort(job)

    def logits(self, prompt: Prompt, taps: Mapping[str, Tap] | None = None) -> torch.Tensor:
        """The logits of every position of `prompt`, ``[len, vocab]`` float32.

        `taps` read or replace the activations at named points (see `engine.layers.template`); a
        name that is no point of this model is refused.
        """
        self._verify_taps(taps or {})
        request = self.preparer.bare(prompt)
        return self.stepper.read_whole(request, taps or {})

    def close(self) -> None:
        """End what still runs with an error, and take nothing new; harmless when it is closed."""
        self.stepper.close()
        if self.multimodal:
            self.multimodal.close()
        self.preparer.close()

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

    def prepare(
        self,
        prompt: Prompt,
        params: SamplingParams,
        priority: int = 0,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Job:
        """A job for `prompt`, not queued yet; one of lower `priority` starts first.

        Raises InvalidRequest when the prompt is empty, does not fit, or holds an unknown token, and
        EngineClosed once `is_wanted` says that nobody waits for it any more.
        """
        return self.preparer.prepare(prompt, params, priority, is_wanted)

    def submit(self, job: Job) -> None:
        """See `Stepper.submit`."""
        self.stepper.submit(job)

    def abort(self, job: Job, error: ModcoreError | None = None) -> None:
        """See `Stepper.abort`."""
        self.stepper.abort(job, error)

    def step(self) -> None:
        """One step for all requests that can take one; their pieces are delivered."""
        self.stepper.compute()
        self.stepper.write()

    def stats(self) -> EngineStats:
        """What the engine is doing, and what it has done so far; never waits for a step."""
        media = self.multimodal.stats() if self.multimodal else None
        return replace(self.stepper.stats(), media=media)

    def _verify_taps(self, taps: Mapping[str, Any]) -> None:
        points = self.model.points()
        for name in taps:
            if name not in points:
                close = difflib.get_close_matches(name, points, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"points: {', '.join(points)}."
                raise InvalidRequest(f"{name!r} is no point of this model; {hint}", param="taps")
