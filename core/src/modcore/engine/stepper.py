"""Steps: what runs next is planned, computed, sampled, and handed to whoever writes the texts."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Mapping

import torch

from modcore.engine.batch import make_batch
from modcore.engine.job import Event, Job, step_failed
from modcore.engine.model import TpPartBaseModel
from modcore.engine.request import Request
from modcore.engine.sampling import TokenLogprob, prompt_logprobs, sample
from modcore.engine.scheduler import Scheduler
from modcore.engine.state import InferStateInfo, Tap
from modcore.engine.stats import EngineStats
from modcore.errors import EngineClosed, ModcoreError, StepFailed


class Stepper:
    """Takes the steps of `model` for the jobs that are submitted; safe from any thread.

    A step has two halves: `compute` needs the model and is taken by one thread at a time; `write`
    turns the tokens into text, and another thread may do it meanwhile.
    """

    def __init__(self, model: TpPartBaseModel, scheduler: Scheduler) -> None:
        self.model = model
        self.scheduler = scheduler
        self.jobs: dict[Request, Job] = {}  # of the requests that have not ended
        self._lock = threading.RLock()  # of the scheduler and the model
        self._writing = threading.Lock()  # of the jobs' texts
        self._events: deque[tuple[Job, Event]] = deque()
        self._is_closed = False
        self._prompt_tokens = self._generation_tokens = 0

    def submit(self, job: Job) -> None:
        """Queue `job`; raises EngineClosed after `close`."""
        with self._lock:
            self._verify_open()
            for request in job.requests:
                self.jobs[request] = job
                self.scheduler.add(request)

    def abort(self, job: Job, error: ModcoreError | None = None) -> None:
        """End a job, with `error` if there is one, and free what it holds; harmless when it has ended."""
        with self._lock:
            for request in job.requests:
                if self.jobs.pop(request, None) is None:
                    continue
                request.was_stopped = True
                self.scheduler.finish(request)
                self._events.append((job, Event(request, error=error)))
        self.write()

    def close(self) -> None:
        """End what still runs with an error, and take nothing new; harmless when it is closed."""
        with self._lock:
            self._is_closed = True
            jobs = set(self.jobs.values())
        for job in jobs:
            self.abort(job, EngineClosed("The engine has been closed."))
        with self._lock:
            self.scheduler.holdings.clear()

    def compute(self) -> None:
        """The half of a step that needs the model."""
        with self._lock:
            for request in [each for each in self.jobs if each.was_stopped]:
                self._end(request)
            plan = self.scheduler.plan()
            requests = plan.requests
            try:
                if requests:
                    self._advance(requests, len(plan.decode))
            except BaseException as error:  # an interrupt, too, leaves rows half filled
                for request in requests:
                    self._fail(request, step_failed(error))
                if not isinstance(error, Exception):
                    raise

    def write(self) -> None:
        """Turn the tokens that steps have left into text, and deliver it."""
        while self._events and self._writing.acquire(blocking=False):  # else somebody does
            try:
                while self._events:
                    self._handle(*self._events.popleft())
            finally:
                self._writing.release()

    def _handle(self, job: Job, event: Event) -> None:
        if event.token is not None and not job.has_ended(event.request):
            self._generation_tokens += 1
            if not job.written:  # once, however many answers were asked for
                self._prompt_tokens += event.request.prompt_length
        try:
            job.handle(event)
        except Exception as error:  # of whoever takes the pieces: no other job has to do with it
            with contextlib.suppress(Exception):
                job.fail(step_failed(error))

    def read_whole(self, request: Request, taps: Mapping[str, Tap]) -> torch.Tensor:
        """The logits of all tokens of `request`, which writes nothing; ``[len, vocab]`` float32."""
        with self._lock:
            self._verify_open()
            try:
                if not self.scheduler.start_whole(request):
                    raise ModcoreError(
                        "The KV cache is taken by running requests; wait for them to end."
                    )
                ids, state = self._batch([request], decode_size=0)
                state.logit_index = torch.arange(len(ids), device=ids.device)
                state.taps = dict(taps)
                # A copy outside inference mode: the caller may change it in place.
                return self.model.forward(ids, state).clone()
            finally:
                request.was_stopped = True
                self.scheduler.finish(request)

    def stats(self) -> EngineStats:
        """What the engine is doing, and what it has done so far."""
        scheduler, cache = self.scheduler, self.scheduler.cache
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_tokens_total=scheduler.memory.tokens,
            kv_tokens_used=scheduler.holdings.tokens_in_use,
            kv_tokens_cached=cache.evictable_tokens if cache else 0,
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=self._generation_tokens,
            prefix_query_tokens_total=cache.queried_tokens if cache else 0,
            prefix_hit_tokens_total=cache.hit_tokens if cache else 0,
            preemptions_total=scheduler.preemptions,
        )

    def _advance(self, requests: list[Request], decode_size: int) -> None:
        ids, state = self._batch(requests, decode_size)
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
        self.jobs[request].note_prompt(start, records)

    def _write_token(self, request: Request, token: int, logprob: TokenLogprob | None) -> None:
        try:
            request.accept(token)
        except ModcoreError as error:
            self._fail(request, error)
            return
        is_text = not request.has_end_token
        self._tell(request, Event(request, token, logprob, request.finish_reason, is_text))
        if request.is_done:
            self._end(request)

    def _batch(
        self, requests: list[Request], decode_size: int
    ) -> tuple[torch.Tensor, InferStateInfo]:
        memory, table = self.scheduler.memory, self.scheduler.table
        return make_batch(requests, self.model.infer_state_class, memory, table, decode_size)

    def _fail(self, request: Request, error: ModcoreError) -> None:
        request.error = error
        self._tell(request, Event(request, error=error))
        self._end(request)

    def _tell(self, request: Request, event: Event) -> None:
        job = self.jobs.get(request)
        if job:
            self._events.append((job, event))

    def _end(self, request: Request) -> None:
        self.jobs.pop(request, None)
        self.scheduler.finish(request, is_complete=request.error is None)

    def _verify_open(self) -> None:
        if self._is_closed:
            raise EngineClosed("The engine has been closed; make a new one.")
