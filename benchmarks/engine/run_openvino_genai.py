"""Measure OpenVINO GenAI's continuous batching pipeline on the CPU.

The model is IR from `convert_openvino.py`: weights in bfloat16 (quant `bf16`) or 8 bits (quant `int8`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from peer_cli import Engine, Setup, Timelines, main
from requests_list import Request


class OpenVino(Engine):
    """One `ContinuousBatchingPipeline`, driven step by step."""

    def __init__(self, setup: Setup) -> None:
        import numpy
        import openvino
        import openvino_genai

        self.tensor = lambda ids: openvino.Tensor(numpy.array([ids], dtype=numpy.int64))
        self.genai = openvino_genai
        self.version = openvino_genai.__version__.split("-")[0]
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 2  # GB
        scheduler.max_num_seqs = 256
        scheduler.enable_prefix_caching = setup.prefix_cache
        properties = {"INFERENCE_NUM_THREADS": setup.threads, "INFERENCE_PRECISION_HINT": "bf16"}
        self.pipeline = openvino_genai.ContinuousBatchingPipeline(
            setup.model, scheduler, "CPU", properties
        )
        self.next_id = 0

    def generate(self, requests: Sequence[Request], variant: str = "") -> Timelines:
        start = time.perf_counter()
        handles = []
        for request in requests:
            config = self.genai.GenerationConfig(
                max_new_tokens=request.output, ignore_eos=True, do_sample=False
            )
            handles.append(
                self.pipeline.add_request(self.next_id, self.tensor(request.prompt), config)
            )
            self.next_id += 1
        timelines: Timelines = [[] for _ in requests]
        while self.pipeline.has_non_finished_requests():
            self.pipeline.step()
            now = time.perf_counter() - start
            for handle, times in zip(handles, timelines, strict=True):
                while handle.can_read():
                    times.extend(
                        now for output in handle.read().values() for _ in output.generated_ids
                    )
        for request, times in zip(requests, timelines, strict=True):
            if len(times) != request.output:
                raise RuntimeError(f"a request got {len(times)} tokens, not {request.output}")
        return timelines


if __name__ == "__main__":
    main("openvino-genai", OpenVino, quants=("bf16", "int8"))
