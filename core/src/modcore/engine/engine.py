"""The engine: takes prompts, runs steps, hands out answers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from modcore.checkpoint import checkpoint_directory, read_config, read_json_object
from modcore.engine.batch import decode_batch, prefill_batch
from modcore.engine.detokenizer import Detokenizer
from modcore.engine.memory import RequestTable
from modcore.engine.model import TpPartBaseModel
from modcore.engine.request import Generation, Piece, Request
from modcore.engine.sampling import SamplingParams, sample
from modcore.engine.scheduler import Scheduler
from modcore.engine.state import Tap
from modcore.engine.tokenizer import Tokenizer, has_tokenizer
from modcore.errors import CheckpointError, InvalidRequest, ModcoreError, ModelNotServed
from modcore.plugins import BuildOptions, plugin_manager
from modcore.plugins.matching import explain

DTYPES = ("auto", "float32", "bfloat16")

#: A prompt: text, token ids, or chat messages as the OpenAI API writes them.
Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]


class Engine:
    """A model, its tokenizer and its scheduler.

    Several threads may use one engine: each step is taken under a lock, and whoever waits for an
    answer takes the steps.
    """

    def __init__(self, model: TpPartBaseModel, directory: Path) -> None:
        self.model = model
        self.directory = directory
        table = RequestTable(
            model.options.max_batch, min(self.max_length, model.mem_manager.tokens), model.device
        )
        self.scheduler = Scheduler(model.mem_manager, table)
        self.eos_token_ids = self._read_eos_token_ids()
        self._lock = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        dtype: str = "auto",
        kv_tokens: int | None = None,
        max_batch: int = 64,
    ) -> Engine:
        """The engine for the checkpoint directory `path`.

        `dtype` is ``auto`` (the checkpoint's), ``float32`` or ``bfloat16``; `kv_tokens` bounds the
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
            path=directory, dtype=dtype, kv_tokens=kv_tokens, max_batch=max_batch
        )
        model = manager.build_model(explanation.chosen, options)
        return cls(cast(TpPartBaseModel, model), directory)

    # What is asked of it

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[Generation]:
        """Answer `prompts` together, as a batch; the results are in their order.

        `params` is one for all, or one each. Raises InvalidRequest when a prompt is empty or longer
        than the context.
        """
        many = _as_prompts(prompts)
        each = _as_params(params, len(many))
        requests: list[Request] = []
        try:
            requests.extend(
                self.add(prompt, param) for prompt, param in zip(many, each, strict=True)
            )
            return [self._finished(request) for request in requests]
        finally:
            for request in requests:
                self.abort(request)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Piece]:
        """Answer `prompt` piece by piece; the pieces' texts, joined, are the answer's text.

        Leaving the loop early ends the request.
        """
        request = self.add(prompt, params or SamplingParams())
        return self._stream(request)

    def _stream(self, request: Request) -> Iterator[Piece]:
        try:
            while not request.is_done or request.pieces:
                while request.pieces:
                    yield request.pieces.popleft()
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

        `taps` read or replace the activations at named points (see `engine.layers.template`).
        """
        with self._lock:
            request = self.new_request(list(token_ids), SamplingParams(max_tokens=1), room=0)
            try:
                if not self.scheduler.admit_one(request):
                    raise ModcoreError(
                        "The KV cache is taken by running requests; wait for them to end."
                    )
                ids, state = self._prefill_batch([request])
                state.all_logits = True
                state.taps = dict(taps or {})
                # A copy outside inference mode: the caller may change it in place.
                return self.model.forward(ids, state).clone()
            finally:
                self.scheduler.finish(request)

    # Requests and steps

    def add(self, prompt: Prompt, params: SamplingParams) -> Request:
        """Queue a prompt; its pieces appear in ``request.pieces`` as steps are taken."""
        request = self.new_request(self.encode(prompt), params)
        self.scheduler.add(request)
        return request

    def abort(self, request: Request) -> None:
        """End a request and free what it holds; harmless when it has ended."""
        with self._lock:
            self.scheduler.finish(request)

    def step(self) -> list[Request]:
        """One step for all requests that can take one; returns those that took it."""
        with self._lock:
            starting = self.scheduler.admit()
            requests = starting or list(self.scheduler.running)
            if not requests:
                return []
            try:
                self._advance(requests, is_prefill=bool(starting))
            except Exception as error:
                self._fail(requests, error)
            for request in requests:
                if request.is_done:
                    self.scheduler.finish(request)
            return requests

    def _advance(self, requests: list[Request], *, is_prefill: bool) -> None:
        if is_prefill:
            ids, state = self._prefill_batch(requests)
        else:
            ids, state = decode_batch(
                self.scheduler.extend(),
                self.model.infer_state_class,
                self.model.mem_manager,
                self.scheduler.table,
            )
        logits = self.model.forward(ids, state)
        tokens = sample(logits, [r.params for r in requests], [r.generator for r in requests])
        finite = torch.isfinite(logits).all(dim=-1).tolist()
        for request, token, is_finite in zip(requests, tokens, finite, strict=True):
            if is_finite:
                request.accept(token)
            else:
                request.error = ModcoreError(
                    "The model computed values that are not finite; try dtype float32."
                )

    def _prefill_batch(self, requests: list[Request]) -> tuple[torch.Tensor, Any]:
        return prefill_batch(
            requests, self.model.infer_state_class, self.model.mem_manager, self.scheduler.table
        )

    def _fail(self, requests: list[Request], error: Exception) -> None:
        for request in requests:
            request.error = ModcoreError(f"The step failed: {type(error).__name__}: {error}")
            request.error.__cause__ = error

    def _finished(self, request: Request) -> Generation:
        while not request.is_done:
            self.step()
        if request.error:
            raise request.error
        assert request.finish_reason is not None
        text = "".join(piece.text for piece in request.pieces)
        return Generation(text, request.output_ids, request.finish_reason, request.usage)

    def new_request(self, ids: list[int], params: SamplingParams, room: int = 1) -> Request:
        """A request for the prompt `ids`, which must leave `room` for so many tokens more.

        Raises InvalidRequest when the prompt is empty, does not fit, or holds an unknown token.
        """
        self._verify_prompt(ids, room)
        rest = min(self.max_length, self.model.mem_manager.tokens) - len(ids)
        limit = rest if params.max_tokens is None else min(params.max_tokens, rest)
        detokenizer = Detokenizer(self.tokenizer.decode, ids) if self._has_tokenizer else None
        return Request(ids, params, limit, self.eos_token_ids, detokenizer)

    def _verify_prompt(self, ids: list[int], room: int) -> None:
        if not ids:
            raise InvalidRequest("The prompt is empty; give it at least one token.", param="prompt")
        for token in ids:
            if (
                isinstance(token, bool)
                or not isinstance(token, int)
                or not 0 <= token < self.model.vocab_size
            ):
                raise InvalidRequest(
                    f"The prompt holds {token!r}, which is not a token of this model's {self.model.vocab_size}.",
                    param="prompt",
                )
        if len(ids) + room > self.max_length:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens, too many for a context of {self.max_length} "
                "with room for an answer; shorten it.",
                param="prompt",
            )
        if len(ids) + room > self.model.mem_manager.tokens:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens, too many for a KV cache of "
                f"{self.model.mem_manager.tokens}; shorten it, or give the engine more kv_tokens.",
                param="prompt",
            )

    # Text

    @property
    def max_length(self) -> int:
        """The context: prompt and answer together, in tokens."""
        return self.model.context_length

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer, read when text is first met."""
        return Tokenizer(self.directory)

    @functools.cached_property
    def _has_tokenizer(self) -> bool:
        return has_tokenizer(self.directory)

    def encode(self, prompt: Prompt) -> list[int]:
        """The token ids of `prompt`; raises InvalidRequest when it is empty."""
        if isinstance(prompt, str):
            if not prompt:
                raise InvalidRequest("The prompt is empty; give it some text.", param="prompt")
            return self.tokenizer.encode(prompt)
        if prompt and isinstance(prompt[0], Mapping):
            return self.tokenizer.encode_chat(cast(Sequence[Mapping[str, Any]], prompt))
        return list(cast(Sequence[int], prompt))

    def _read_eos_token_ids(self) -> frozenset[int]:
        """The tokens that end an answer: generation_config.json says, else config.json, else the tokenizer."""
        for name in ("generation_config.json", "config.json"):
            file = self.directory / name
            value = read_json_object(file).get("eos_token_id") if file.is_file() else None
            ids = value if isinstance(value, list) else [value]
            if all(isinstance(token, int) for token in ids) and ids:
                return frozenset(ids)
            if value is not None:
                raise CheckpointError(
                    f"{file}: eos_token_id is {value!r} where token ids are expected."
                )
        if self._has_tokenizer and self.tokenizer.eos_token_id is not None:
            return frozenset({self.tokenizer.eos_token_id})
        return frozenset()


def _need_positive(name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidRequest(
            f"{name} is {value!r}; it has to be a whole number of at least 1.", param=name
        )


def _as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt, or several: ids and messages are sequences too."""
    if isinstance(prompts, str):
        return [prompts]
    if prompts and isinstance(prompts[0], (int, Mapping)):
        return [cast(Prompt, prompts)]
    return list(cast(Sequence[Prompt], prompts))


def _as_params(
    params: SamplingParams | Sequence[SamplingParams] | None, count: int
) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    if len(params) != count:
        raise InvalidRequest(
            f"{len(params)} params for {count} prompts; give one for all, or one each.",
            param="params",
        )
    return list(params)
