"""Measure CTranslate2's generator. It has no continuous batching: requests run as static batches, longest output rules.

The model is from `ct2-transformers-converter` (float32); quant `int8` quantizes it while loading. Variants of the mixed
work are the batch sizes, requests sorted by output length.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peer_cli import Engine, Setup, Timelines, main
from requests_list import Request


class CTranslate2(Engine):
    """One `Generator`."""

    def __init__(self, setup: Setup) -> None:
        import ctranslate2
        from tokenizers import Tokenizer

        self.version = ctranslate2.__version__
        compute_type = {"fp32": "float32", "int8": "int8"}[setup.quant]
        self.generator = ctranslate2.Generator(
            str(setup.model),
            device="cpu",
            compute_type=compute_type,
            inter_threads=1,
            intra_threads=setup.threads,
        )
        tokenizer = Tokenizer.from_file(str(Path(setup.checkpoint) / "tokenizer.json"))
        self.names = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]

    def generate(self, requests: Sequence[Request], variant: str = "") -> Timelines:
        size = {"": len(requests), "static8": 8, "static32": 32}[variant]
        order = sorted(range(len(requests)), key=lambda i: requests[i].output)
        start = time.perf_counter()
        timelines: Timelines = [[] for _ in requests]
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            for i, stamps in zip(chosen, self.static([requests[i] for i in chosen]), strict=True):
                timelines[i] = [stamp - start for stamp in stamps[: requests[i].output]]
        return timelines

    def static(self, requests: Sequence[Request]) -> list[list[float]]:
        """Run one batch to its longest output and return when each request got each of its tokens."""
        steps = max(request.output for request in requests)
        stamps: list[list[float]] = [[] for _ in requests]

        def note(result: Any) -> bool:
            stamps[result.batch_id].append(time.perf_counter())
            return False

        results = self.generator.generate_batch(
            [[self.names[i] for i in request.prompt] for request in requests],
            max_length=steps,
            min_length=steps,
            sampling_topk=1,
            beam_size=1,
            include_prompt_in_result=False,
            end_token=[],
            callback=note,
        )
        for result in results:
            if len(result.sequences_ids[0]) != steps:
                raise RuntimeError(
                    f"a request got {len(result.sequences_ids[0])} tokens, not {steps}"
                )
        # Of prompts of several lengths the longer ones are read step by step, too, before the answers.
        return [each[-steps:] for each in stamps]


if __name__ == "__main__":
    main("ctranslate2", CTranslate2, quants=("fp32", "int8"), variants=("", "static8", "static32"))
