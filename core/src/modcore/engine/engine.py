"""The engine: takes prompts, runs steps, hands out answers."""

from __future__ import annotations

import difflib
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from modcore.checkpoint import checkpoint_directory, read_config
from modcore.engine.batch import make_batch
from modcore.engine.detokenizer import Detokenizer
from modcore.engine.memory import RequestTable
from modcore.engine.model import TpPartBaseModel
from modcore.engine.prompts import Prompt, PromptReader, as_params, as_prompts
from modcore.engine.request import Generation, Piece, Request
from modcore.engine.sampling import SamplingParams, sample
from modcore.engine.scheduler import Scheduler
from modcore.engine.state import Tap
from modcore.engine.tokenizer import Tokenizer
from modcore.errors import InvalidRequest, ModcoreError, ModelNotServed, PluginError, StepFailed
from modcore.plugins import BuildOptions, plugin_manager
from modcore.plugins.matching import explain

DTYPES = ("auto", "float32", "bfloat16")


class Engine:
    """A model, its tokenizer and its scheduler.

    Several threads may use one engine: each step is taken under a lock by someone who waits for an
    answer, and the pieces go to whom they belong.
    """

    def __init__(self, model: TpPartBaseModel, directory: Path) -> None:
        self.model = model
        self.prompts = PromptReader(directory)
        self.eos_token_ids = self.prompts.eos_token_ids()
        table = RequestTable(model.options.max_batch, self.capacity, model.device)
        self.scheduler = Scheduler(model.mem_manager, table)
        self._lock = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        dtype: str = "auto",
        weights: str | None = None,
        layers: str | None = None,
        kv_tokens: int | None = None,
        max_batch: int = 64,
    ) -> Engine:
        """The engine for the checkpoint directory `path`.

        `dtype` is ``auto`` (the checkpoint's), ``float32`` or ``bfloat16``; `weights` and `layers`
        name registered variants of the family's parts, such as ``int8``; `kv_tokens` bounds the
        tokens in the KV cache (default: as many as fit); `max_batch` those decoded together.

        Raises CheckpointError when the checkpoint cannot be used, ModelNotServed when no installed
        plugin serves it, PluginError when the plugin is broken, InvalidRequest for a wrong option.
        """
        if dtype not in DTYPES:
            raise InvalidRequest(
                f"dtype is {dtype!r}; it has to be one of {', '.join(DTYPES)}.", param="dtype"
            )
        _need_positive("kv_tokens", kv_tokens)
        _need_positive("max_batch", max_batch)
        directory = checkpoint_directory(path)
        manager = plugin_manager()
        explanation = explain(read_config(directory), manager)
        if explanation.chosen is None:
            raise ModelNotServed(f"{directory} cannot be served. {explanation.hint}")
        options = BuildOptions(
            path=directory,
            dtype=dtype,
            weights=weights,
            layers=layers,
            kv_tokens=kv_tokens,
            max_batch=max_batch,
        )
        model = manager.build_model(explanation.chosen, options)
        if not isinstance(model, TpPartBaseModel):
            chosen = explanation.chosen
            raise PluginError(
                f"{chosen.dist} {chosen.version} built a {type(model).__name__} for {chosen.id}, "
                "which is not a text model of the engine; update the package."
            )
        return cls(model, directory)

    @property
    def max_length(self) -> int:
        """The context: prompt and answer together, in tokens."""
        return self.model.context_length

    @property
    def capacity(self) -> int:
        """The most tokens that one request can have: the context, or the KV cache if it is smaller."""
        return min(self.max_length, self.model.mem_manager.tokens)

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer; raises CheckpointError when there is none or it cannot be read."""
        return self.prompts.tokenizer

    def encode(self, prompt: Prompt) -> list[int]:
        """The token ids of `prompt`; raises InvalidRequest when it is empty."""
        return self.prompts.encode(prompt)

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
        requests = [self.prepare(*pair) for pair in zip(many, each, strict=True)]
        answers = [_Inbox(request) for request in requests]
        try:
            for request in requests:
                self.scheduler.add(request)
            for request in requests:
                while not request.is_done:
                    self.step()
            return [answer.generation() for answer in answers]
        finally:
            for request in requests:
                self.abort(request)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Piece]:
        """Answer `prompt` piece by piece; the pieces' texts, joined, are the answer's text.

        Leaving the loop early ends the request. Raises InvalidRequest at once, as `generate` does.
        """
        return self._stream(self.prepare(prompt, params or SamplingParams()))

    def _stream(self, request: Request) -> Iterator[Piece]:
        inbox = _Inbox(request)
        self.scheduler.add(request)
        try:
            while not request.is_done or inbox.pieces:
                while inbox.pieces:
                    yield inbox.pieces.popleft()
                if not request.is_done:
                    self.step()
            if request.error:
                raise request.error
        finally:
            self.abort(request)

    def logits(
        self, token_ids: Sequence[int], taps: Mapping[str, Tap] | None = None
    ) -> torch.Tensor:
        """The logits of every position of `token_ids`, ``[len, vocab]`` float32.

        `taps` read or replace the activations at named points (see `engine.layers.template`); a
        name that is no point of this model is refused.
        """
        self._verify_taps(taps or {})
        ids = self.encode(token_ids)
        self._verify_prompt(ids, room=0)
        request = Request(ids, SamplingParams(), limit=0)
        with self._lock:
            try:
                if not self.scheduler.admit_one(request):
                    raise ModcoreError(
                        "The KV cache is taken by running requests; wait for them to end."
                    )
                # A copy outside inference mode: the caller may change it in place.
                return self._forward([request], is_prefill=True, all_logits=True, taps=taps).clone()
            finally:
                self.scheduler.finish(request)

    # What a server uses: requests prepared anywhere, steps taken by one thread.

    def prepare(self, prompt: Prompt, params: SamplingParams) -> Request:
        """A request for `prompt`, not queued yet.

        Raises InvalidRequest when the prompt is empty, does not fit, or holds an unknown token.
        """
        ids = self.encode(prompt)
        self._verify_prompt(ids, room=1)
        rest = self.capacity - len(ids)
        limit = rest if params.max_tokens is None else min(params.max_tokens, rest)
        detokenizer = (
            Detokenizer(self.tokenizer.decode, ids) if self.prompts.has_tokenizer else None
        )
        return Request(ids, params, limit, self.eos_token_ids, detokenizer)

    def abort(self, request: Request) -> None:
        """End a request and free what it holds; harmless when it has ended."""
        with self._lock:
            self.scheduler.finish(request)
            request.abort()

    def step(self) -> None:
        """One step for all requests that can take one; their pieces are delivered."""
        with self._lock:
            starting = self.scheduler.admit()
            requests = starting or (self.scheduler.extend() if self.scheduler.running else [])
            try:
                if requests:
                    self._advance(requests, is_prefill=bool(starting))
            except Exception as error:
                for request in requests:
                    request.fail(_step_failed(error))
            finally:
                for request in requests:
                    if request.is_done:
                        self.scheduler.finish(request)

    def _advance(self, requests: list[Request], *, is_prefill: bool) -> None:
        logits = self._forward(requests, is_prefill=is_prefill)
        finite = torch.isfinite(logits).all(dim=-1)
        logits = torch.where(finite[:, None], logits, 0.0)
        tokens = sample(logits, [r.params for r in requests], [r.generator for r in requests])
        for request, token, is_finite in zip(requests, tokens, finite.tolist(), strict=True):
            if not is_finite:
                request.fail(
                    StepFailed("The model computed values that are not finite; try dtype float32.")
                )
                continue
            try:
                request.accept(token)
            except (
                Exception
            ) as error:  # a tokenizer may raise on any token, and only this request has it
                request.fail(_step_failed(error))

    def _forward(
        self,
        requests: list[Request],
        *,
        is_prefill: bool,
        all_logits: bool = False,
        taps: Mapping[str, Tap] | None = None,
    ) -> torch.Tensor:
        ids, state = make_batch(
            requests,
            self.model.infer_state_class,
            self.scheduler.memory,
            self.scheduler.table,
            is_prefill=is_prefill,
        )
        state.all_logits = all_logits
        state.taps = dict(taps or {})
        logits = self.model.forward(ids, state)
        for request in requests:
            request.rows_filled = request.rows_held
        return logits

    def _verify_prompt(self, ids: list[int], room: int) -> None:
        """`room` is the number of tokens that must fit behind the prompt."""
        if not ids:  # a tokenizer may make nothing of a text
            raise InvalidRequest("The prompt is empty; give it at least one token.", param="prompt")
        if len(ids) + room > self.max_length:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens, too many for a context of {self.max_length}"
                f"{' with room for an answer' if room else ''}; shorten it.",
                param="prompt",
            )
        if len(ids) + room > self.capacity:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens, too many for a KV cache of "
                f"{self.capacity}; shorten it, or give the engine more kv_tokens.",
                param="prompt",
            )
        for token in ids:
            if not 0 <= token < self.model.vocab_size:
                raise InvalidRequest(
                    f"The prompt holds {token!r}, which is not one of this model's "
                    f"{self.model.vocab_size} tokens.",
                    param="prompt",
                )

    def _verify_taps(self, taps: Mapping[str, Tap]) -> None:
        points = self.model.points()
        for name in taps:
            if name not in points:
                close = difflib.get_close_matches(name, points, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"points: {', '.join(points)}."
                raise InvalidRequest(f"{name!r} is no point of this model; {hint}", param="taps")


class _Inbox:
    """Keeps the pieces of a request for whoever asked."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.pieces: deque[Piece] = deque()
        request.deliver = self._put

    def _put(self, item: Piece | ModcoreError) -> None:
        if isinstance(item, Piece):
            self.pieces.append(item)

    def generation(self) -> Generation:
        """The whole answer; raises the error that ended it."""
        request = self.request
        if request.error:
            raise request.error
        assert request.finish_reason is not None
        text = "".join(piece.text for piece in self.pieces)
        return Generation(text, request.output_ids, request.finish_reason, request.usage)


def _step_failed(error: Exception) -> StepFailed:
    failure = StepFailed(f"The step failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _need_positive(name: str, value: int | None) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidRequest(
            f"{name} is {value!r}; it has to be a whole number of at least 1.", param=name
        )
