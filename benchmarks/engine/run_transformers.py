"""Measure transformers: `generate` in eager mode with static batches, and its own continuous batching.

Variants of the mixed work: `static8` and `static32` run batches of that size, requests sorted by output length so that
a batch wastes as little as it can; `continuous` hands all requests to the continuous batching manager. Everything else
is one static batch. A static batch goes on until its longest output; only tokens that a request asked for are counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from peer_cli import Engine, Sample, Setup, Timelines, main
from requests_list import Request

PAD = 3


class Transformers(Engine):
    """One `LlamaForCausalLM`."""

    def __init__(self, setup: Setup) -> None:
        import torch
        import transformers

        torch.set_num_threads(setup.threads)
        transformers.logging.set_verbosity_error()
        self.version = f"{transformers.__version__} torch {torch.__version__}"
        self.dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[setup.quant]
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            setup.checkpoint, dtype=self.dtype
        ).eval()
        self.model.generation_config.eos_token_id = None

    def generate(self, requests: Sequence[Request], variant: str = "") -> Timelines:
        if variant == "continuous":
            return self.continuous(requests)
        size = {"": len(requests), "static8": 8, "static32": 32}[variant]
        order = sorted(range(len(requests)), key=lambda i: requests[i].output)
        start = time.perf_counter()
        timelines: Timelines = [[] for _ in requests]
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            stamps = self.static([requests[i] for i in chosen])
            for i in chosen:
                timelines[i] = [stamp - start for stamp in stamps[: requests[i].output]]
        return timelines

    def static(self, requests: Sequence[Request], cache: Any = None) -> list[float]:
        """Run one left-padded batch to its longest output and return when each step was done."""
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList

        stamps: list[float] = []

        class Clock(StoppingCriteria):
            def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
                stamps.append(time.perf_counter())
                return torch.zeros(input_ids.shape[0], dtype=torch.bool)

        width = max(len(request.prompt) for request in requests)
        ids = torch.tensor(
            [[PAD] * (width - len(r.prompt)) + r.prompt for r in requests]
        )  # [batch, width]
        mask = torch.tensor([[0] * (width - len(r.prompt)) + [1] * len(r.prompt) for r in requests])
        steps = max(request.output for request in requests)
        self.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=steps,
            do_sample=False,
            pad_token_id=PAD,
            past_key_values=cache,
            stopping_criteria=StoppingCriteriaList([Clock()]),
        )
        if len(stamps) != steps:
            raise RuntimeError(f"generate made {len(stamps)} steps, not {steps}")
        return stamps

    def prefix(self, requests: Sequence[Request]) -> Sample:
        """Reuse the shared prefix by hand, as the cache guide shows: `generate` has no prefix cache of its own."""
        import torch
        from transformers import DynamicCache

        self.generate(requests[:1])
        columns = zip(*(request.prompt for request in requests), strict=True)
        shared = [column[0] for column in takewhile(lambda ids: len(set(ids)) == 1, columns)]
        others = requests[1:]
        with torch.no_grad():
            cache = DynamicCache(config=self.model.config)
            self.model(torch.tensor([shared]), past_key_values=cache, logits_to_keep=1)
        start = time.perf_counter()
        cache.batch_repeat_interleave(len(others))
        first = self.static(others, cache)[0]
        return Sample(len(others), first - start)

    def continuous(self, requests: Sequence[Request]) -> Timelines:
        """All requests at once through the continuous batching manager, set up before the clock starts."""
        from transformers import ContinuousBatchingConfig, GenerationConfig

        tokens = sum(len(request.prompt) + request.output for request in requests)
        page = 32
        config = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=tokens // page + 2 * len(requests),
            max_batch_tokens=512,
            max_requests_per_batch=len(requests),
        )
        manager = self.model.init_continuous_batching(
            generation_config=GenerationConfig(
                do_sample=False, eos_token_id=-1, pad_token_id=PAD, max_new_tokens=128
            ),
            continuous_batching_config=config,
        )
        manager.start()
        timelines: Timelines = [[] for _ in requests]
        try:
            start = time.perf_counter()
            for i, request in enumerate(requests):
                manager.add_request(
                    request.prompt, request_id=str(i), max_new_tokens=request.output
                )
            left = len(requests)
            while left:
                result = manager.get_result(timeout=60)
                if result is None or result.error:
                    raise RuntimeError(f"continuous batching stopped: {result and result.error}")
                if result.is_finished():
                    i = int(result.request_id)
                    timelines[i] = [time.perf_counter() - start] * len(result.generated_tokens)
                    left -= 1
        finally:
            manager.stop(block=True)
            manager.destroy()
        for request, times in zip(requests, timelines, strict=True):
            if len(times) != request.output:
                raise RuntimeError(f"a request got {len(times)} tokens, not {request.output}")
        return timelines


if __name__ == "__main__":
    main(
        "transformers",
        Transformers,
        quants=("bf16", "fp32"),
        variants=("", "static8", "static32", "continuous"),
    )
