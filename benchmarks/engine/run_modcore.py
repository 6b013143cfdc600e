"""Measure modcore: one `Engine`, stepped by hand, so that each token has the time of the step that made it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from peer_cli import Engine, Setup, Timelines, main
from requests_list import Request


class Modcore(Engine):
    """One engine with room for 32 requests of the benchmark."""

    def __init__(self, setup: Setup) -> None:
        import torch

        import modcore
        from modcore.engine import Engine as ModcoreEngine

        torch.set_num_threads(setup.threads)
        self.version = modcore.__version__
        exact = {"bf16": "bfloat16", "fp32": "float32"}
        self.engine = ModcoreEngine.from_pretrained(
            setup.checkpoint,
            dtype=exact.get(setup.quant, "bfloat16"),
            weights=None if setup.quant in exact else setup.quant,
            kv_tokens=16384,
            max_batch=32,
            prefix_cache=setup.prefix_cache and setup.variant != "no-prefix-cache",
        )

    def generate(self, requests: Sequence[Request], variant: str = "") -> Timelines:
        from modcore.engine import SamplingParams

        start = time.perf_counter()
        jobs = []
        for request in requests:
            params = SamplingParams(max_tokens=request.output, temperature=0, ignore_eos=True)
            jobs.append(self.engine.prepare(request.prompt, params))
            self.engine.submit(jobs[-1])
        timelines: Timelines = [[] for _ in requests]
        while not all(job.is_done for job in jobs):
            self.engine.step()
            now = time.perf_counter() - start
            for job, times in zip(jobs, timelines, strict=True):
                times += [now] * (job.requests[0].written - len(times))
        return timelines


if __name__ == "__main__":
    main(
        "modcore",
        Modcore,
        quants=("bf16", "int8", "int4", "fp32"),
        variants=("", "no-prefix-cache"),
        variant_loads=True,
    )
