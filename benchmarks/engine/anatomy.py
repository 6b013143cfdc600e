"""Where a step's time goes: scheduling and sampling beside the model, and what a longer context costs.

Prints one JSON line: ``{"share": {...}, "context": [[tokens, ms a token], ...]}``. The share is of a decode step of
`--batch` requests; times are medians of the steps.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from typing import Any

from requests_list import token_ids


def running(engine: Any, batch: int, prompt: int, output: int) -> list[Any]:
    """`batch` jobs that have read their prompts."""
    from modcore.engine import SamplingParams

    rng = random.Random(prompt)
    params = SamplingParams(max_tokens=output, temperature=0, ignore_eos=True, prefix_cache=False)
    vocabulary = engine.model.vocab_size
    jobs = [engine.prepare(token_ids(rng, prompt, vocabulary), params) for _ in range(batch)]
    for job in jobs:
        engine.submit(job)
    while not all(job.requests[0].has_read_prompt for job in jobs):
        engine.step()
    return jobs


def step_share(engine: Any, batch: int, steps: int) -> dict[str, float]:
    """The parts of a decode step, in ms: the model, the text, and the rest (schedule, batch, sample)."""
    jobs = running(engine, batch, 128, steps + 4)
    forward = engine.model.forward
    spent: list[float] = []

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = forward(*arguments)
        spent.append(time.perf_counter() - start)
        return result

    engine.model.forward = timed
    rest, texts, models = [], [], []
    for _ in range(steps):
        spent.clear()
        start = time.perf_counter()
        engine.stepper.compute()
        middle = time.perf_counter()
        engine.stepper.write()
        texts.append(time.perf_counter() - middle)
        models.append(sum(spent))
        rest.append(middle - start - sum(spent))
    engine.model.forward = forward
    for job in jobs:
        engine.abort(job)
    parts = {"model": models, "schedule and sample": rest, "text": texts}
    medians = {name: statistics.median(times) * 1e3 for name, times in parts.items()}
    whole = medians["model"] + medians["schedule and sample"]
    return medians | {"share": medians["schedule and sample"] / whole}


def context_cost(engine: Any, lengths: list[int], steps: int) -> list[tuple[int, float]]:
    """The ms of a decoded token of one request behind `lengths` tokens."""
    costs = []
    for length in lengths:
        jobs = running(engine, 1, length, steps + 2)
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            engine.step()
            times.append(time.perf_counter() - start)
        costs.append((length, statistics.median(times) * 1e3))
        for job in jobs:
            engine.abort(job)
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument(
        "--contexts", type=int, nargs="*", default=[128, 512, 1024, 2048, 4096, 8000]
    )
    arguments = parser.parse_args()
    import torch

    from modcore.engine import Engine

    torch.set_num_threads(arguments.threads)
    engine = Engine.from_pretrained(arguments.checkpoint, kv_tokens=16384, max_batch=32)
    longest = engine.max_length - arguments.steps - 2
    contexts = [length for length in arguments.contexts if length <= longest]
    print(
        json.dumps(
            {
                "share": step_share(engine, arguments.batch, arguments.steps),
                "context": context_cost(engine, contexts, arguments.steps),
            }
        )
    )


if __name__ == "__main__":
    main()
