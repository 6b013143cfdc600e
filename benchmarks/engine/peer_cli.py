"""What the runners of the peer engines share: the command line, the loop over repeats, and how a result is computed.

A runner gives `main` an `Opener`; everything else follows from the times at which an engine delivered its tokens.
Results are JSON lines on the real stdout; whatever a library prints goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from requests_list import Request, mixed_requests, prefix_requests, uniform_requests

Timelines = list[
    list[float]
]  # [requests][tokens], seconds from the moment the requests were handed over
WORKS = ("decode", "prefill", "mixed", "load", "prefix")


@dataclass(frozen=True, slots=True)
class Work:
    """One measurement. `quant` and `variant` choose among what the runner offers; `seed` draws the token ids."""

    work: str = "decode"
    batch: int = 1
    prompt: int = 128
    output: int = 64
    quant: str = ""
    variant: str = ""
    repeat: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Setup:
    """What an engine is opened with. `model` is the checkpoint in the engine's own format."""

    checkpoint: Path
    model: Path
    quant: str
    variant: str
    threads: int
    prefix_cache: bool
    extra: argparse.Namespace


@dataclass(frozen=True, slots=True)
class Sample:
    """One repeat: how many tokens in how many seconds, and the rate of its undisturbed steps where steps are known."""

    tokens: int
    seconds: float
    p10_rate: float | None = None


class Engine(ABC):
    """One loaded model of a peer engine."""

    version = ""
    notes = ""

    @abstractmethod
    def generate(self, requests: Sequence[Request], variant: str = "") -> Timelines:
        """Serve all `requests`, which arrive together, and return when each of their tokens was there."""

    def decode(self, requests: Sequence[Request]) -> Sample:
        """The span in which every request is decoding: from the last first token to the first last token."""
        timelines = self.generate(requests)
        start = max(times[0] for times in timelines)
        end = min(times[-1] for times in timelines)
        tokens = sum(start < at <= end for times in timelines for at in times)
        return Sample(tokens, end - start, p10_rate(timelines, start, end))

    def prefill(self, requests: Sequence[Request]) -> Sample:
        """Prompt tokens until the last request has its only token."""
        timelines = self.generate(requests)
        return Sample(
            sum(len(request.prompt) for request in requests), max(times[-1] for times in timelines)
        )

    def mixed(self, requests: Sequence[Request], variant: str = "") -> Sample:
        """Output tokens of requests of many lengths, until the last one is done."""
        timelines = self.generate(requests, variant)
        return Sample(
            sum(request.output for request in requests), max(times[-1] for times in timelines)
        )

    def prefix(self, requests: Sequence[Request]) -> Sample:
        """Mean time to first token of the requests after the first, which had the shared prefix computed."""
        self.generate(requests[:1])
        timelines = self.generate(requests[1:])
        return Sample(len(timelines), fmean(times[0] for times in timelines))

    def peak_rss_mb(self) -> int:
        """The largest resident memory so far of the process that holds the model."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    def close(self) -> None:  # noqa: B027 - most engines have nothing to close
        """Let the model go."""


Opener = Callable[[Setup], Engine]


def vocabulary_of(checkpoint: Path) -> int:
    """The vocabulary size that the checkpoint's config.json states."""
    return int(json.loads((checkpoint / "config.json").read_text())["vocab_size"])


def p10_rate(timelines: Timelines, start: float, end: float) -> float | None:
    """Tokens per second at the tenth percentile of the step times: what the steps reach that nothing else disturbed."""
    marks = sorted({at for times in timelines for at in times if start <= at <= end})
    steps = sorted(after - before for before, after in pairwise(marks))
    return len(timelines) / steps[len(steps) // 10] if steps else None


def measure(engine: Engine, work: Work, vocabulary: int, seed: int) -> Sample:
    """Run one repeat of `work`."""
    match work.work:
        case "decode":
            return engine.decode(
                uniform_requests(work.batch, work.prompt, work.output, vocabulary, seed)
            )
        case "prefill":
            return engine.prefill(uniform_requests(work.batch, work.prompt, 1, vocabulary, seed))
        case "mixed":
            return engine.mixed(mixed_requests(vocabulary, seed), work.variant)
        case "prefix":
            return engine.prefix(prefix_requests(vocabulary, seed))
        case other:
            raise ValueError(f"unknown work {other!r}: choose one of {', '.join(WORKS)}")


class Runner:
    """The engines of one runner, opened when first needed and kept."""

    def __init__(self, name: str, opener: Opener, arguments: argparse.Namespace) -> None:
        self.name = name
        self.opener = opener
        self.arguments = arguments
        self.vocabulary = vocabulary_of(arguments.checkpoint)
        self.engines: dict[tuple[str, str, bool], Engine] = {}
        self.warm: set[tuple[Any, ...]] = set()

    def engine(self, quant: str, variant: str, prefix_cache: bool) -> Engine:
        """The engine for this precision and variant; `prefix_cache` only for the work that is about it."""
        key = (quant, variant if self.arguments.variant_loads else "", prefix_cache)
        if key not in self.engines:
            setup = Setup(
                self.arguments.checkpoint,
                self.model(quant),
                quant,
                variant,
                self.arguments.threads,
                prefix_cache,
                self.arguments,
            )
            self.engines[key] = self.opener(setup)
        return self.engines[key]

    def model(self, quant: str) -> Path:
        """Where the checkpoint in the engine's format lies: `CHECKPOINT-<engine>-<quant>`, or what --model says."""
        if self.arguments.model is not None:
            return Path(self.arguments.model)
        checkpoint: Path = self.arguments.checkpoint
        return checkpoint.with_name(f"{checkpoint.name}-{self.name}-{quant}")

    def result(self, work: Work) -> dict[str, Any]:
        """Measure `work` after one unmeasured round of the same kind."""
        if work.work == "load":
            return self.load(work)
        engine = self.engine(work.quant, work.variant, work.work == "prefix")
        kind = (work.work, work.batch, work.prompt, work.quant, work.variant)
        if kind not in self.warm:
            warm = Work(
                work.work, work.batch, work.prompt, min(work.output, 8), work.quant, work.variant
            )
            measure(engine, warm, self.vocabulary, seed=1_000_003)
            self.warm.add(kind)
        samples = [
            measure(engine, work, self.vocabulary, work.seed + i) for i in range(work.repeat)
        ]
        rates = (
            [] if work.work == "prefix" else [sample.tokens / sample.seconds for sample in samples]
        )
        return self.line(work, samples, rates, engine.version, engine.peak_rss_mb(), engine.notes)

    def load(self, work: Work) -> dict[str, Any]:
        """Start the runner anew for each repeat: wall clock from process start to the first token, imports included."""
        own = [word for word in sys.argv if word != "--serve"]
        command = [sys.executable, *own, "--quant", work.quant, "--first-token"]
        samples, child = [], {}
        for _ in range(work.repeat):
            start = time.perf_counter()
            with subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                child = json.loads(process.stdout.readline())
                samples.append(Sample(1, time.perf_counter() - start))
        return self.line(work, samples, [], child["version"], child["peak_rss_mb"], child["notes"])

    def first_token(self, work: Work) -> dict[str, Any]:
        """Serve one request of one token, in a process that has done nothing else."""
        engine = self.engine(work.quant, work.variant, prefix_cache=False)
        engine.generate(uniform_requests(1, work.prompt, 1, self.vocabulary, work.seed))
        return {
            "version": engine.version,
            "peak_rss_mb": engine.peak_rss_mb(),
            "notes": engine.notes,
        }

    def line(
        self,
        work: Work,
        samples: Sequence[Sample],
        rates: Sequence[float],
        version: str,
        rss: int,
        notes: str,
    ) -> dict[str, Any]:
        """The JSON object that stands for one result."""
        return {
            "engine": self.name,
            "version": version,
            "work": work.work,
            "batch": work.batch,
            "quant": work.quant,
            "variant": work.variant,
            "tokens": samples[-1].tokens,
            "seconds": [round(s.seconds, 4) for s in samples],
            "tok_per_s": [round(rate, 2) for rate in rates],
            "tok_per_s_p10": [round(s.p10_rate, 2) for s in samples if s.p10_rate is not None],
            "peak_rss_mb": rss,
            "notes": notes,
        }

    def serve(self, out: TextIO) -> None:
        """Open the default engine, say READY, then answer each JSON line of stdin with one of stdout."""
        self.engine(self.arguments.quant, self.arguments.variant, prefix_cache=False)
        print("READY", file=out, flush=True)
        known = {field.name for field in fields(Work)}
        for line in sys.stdin:
            given = json.loads(line)
            try:
                defaults = {"quant": self.arguments.quant, "variant": self.arguments.variant}
                unknown = sorted(set(given) - known)
                if unknown:
                    raise ValueError(f"unknown keys {unknown}: known are {sorted(known)}")
                answer = self.result(Work(**(defaults | given)))
            except (
                Exception
            ) as error:  # the caller must get an answer per line, whatever an engine raises
                answer = {"engine": self.name, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=out, flush=True)

    def close(self) -> None:
        """Close every engine that was opened."""
        for engine in self.engines.values():
            engine.close()


def real_stdout() -> TextIO:
    """A handle on stdout that only results go to; file descriptor 1 is turned into stderr for everybody else."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def main(
    name: str,
    opener: Opener,
    *,
    quants: Sequence[str],
    variants: Sequence[str] = ("",),
    variant_loads: bool = False,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> None:
    """The command line of a runner. The first of `quants` and of `variants` is the default.

    `variant_loads` says that a variant needs an engine of its own.
    """
    parser = argparse.ArgumentParser(description=f"Measure {name}.")
    parser.add_argument("checkpoint", type=Path, help="the Hugging Face checkpoint")
    parser.add_argument(
        "--model", type=Path, help="the checkpoint in the engine's format [CHECKPOINT-ENGINE-QUANT]"
    )
    parser.add_argument("--work", choices=WORKS, default="decode")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--output", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quant", choices=quants, default=quants[0])
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--serve", action="store_true", help="read works as JSON lines from stdin")
    parser.add_argument("--json", action="store_true", help="print the result as JSON (always so)")
    parser.add_argument("--first-token", action="store_true", help=argparse.SUPPRESS)
    add_arguments(parser)
    arguments = parser.parse_args(namespace=argparse.Namespace(variant_loads=variant_loads))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `close` gets to end a server
    out = real_stdout()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    runner = Runner(name, opener, arguments)
    work = Work(**{field.name: getattr(arguments, field.name) for field in fields(Work)})
    try:
        if arguments.serve:
            runner.serve(out)
        elif arguments.first_token:
            print(json.dumps(runner.first_token(work)), file=out, flush=True)
        else:
            print(json.dumps(runner.result(work)), file=out, flush=True)
    finally:
        runner.close()
