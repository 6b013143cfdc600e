"""From measurements to figures, under the names of ``vllm bench serve``."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modcore._version import VERSION
from modcore.bench.drive import Level, Run

#: The latencies, by vLLM's abbreviation; the time per output token leaves out the first.
LATENCIES = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "inter-token latency",
    "e2el": "end-to-end latency",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """How a latency is spread, in milliseconds."""

    mean: float
    median: float
    std: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread | None:
        """The spread of `seconds`; None when there are none."""
        if not seconds:
            return None
        ranked = sorted(1000 * value for value in seconds)
        return cls(
            statistics.fmean(ranked),
            percentile(ranked, 50),
            statistics.pstdev(ranked),
            percentile(ranked, 90),
            percentile(ranked, 99),
        )


def percentile(ranked: Sequence[float], percent: float) -> float:
    """The value below which `percent` of `ranked` lie, linear between two (NumPy's default)."""
    place = (len(ranked) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class LevelReport:
    """The figures of one concurrency; failed requests count in nothing but `failed`.

    duration:         seconds from the first request to the end of the last.
    latencies:        by the names in LATENCIES; None without a sample.
    errors:           how often each was met, the commonest first.
    """

    max_concurrency: int
    num_prompts: int
    request_rate: float | None
    duration: float
    completed: int
    failed: int
    total_input_tokens: int
    total_output_tokens: int
    latencies: dict[str, Spread | None]
    errors: dict[str, int]
    first_error: str | None

    @classmethod
    def of(cls, level: Level) -> LevelReport:
        """The figures of what has been measured of `level`."""
        good = [each for each in level.measurements if each.succeeded]
        errors = [each.error for each in level.measurements if each.error]
        samples = {
            "ttft": [each.ttft for each in good],
            "tpot": [each.tpot for each in good if each.tpot is not None],
            "itl": [gap for each in good for gap in each.itl],
            "e2el": [each.e2el for each in good],
        }
        return cls(
            max_concurrency=level.concurrency,
            num_prompts=level.planned,
            request_rate=level.request_rate,
            duration=level.duration,
            completed=len(good),
            failed=len(errors),
            total_input_tokens=sum(each.prompt_tokens for each in good),
            total_output_tokens=sum(each.output_tokens for each in good),
            latencies={name: Spread.of(samples[name]) for name in LATENCIES},
            errors=dict(Counter(errors).most_common(20)),
            first_error=errors[0] if errors else None,
        )

    @property
    def request_throughput(self) -> float:
        """Requests a second."""
        return self._a_second(self.completed)

    @property
    def output_throughput(self) -> float:
        """Generated tokens a second."""
        return self._a_second(self.total_output_tokens)

    @property
    def total_token_throughput(self) -> float:
        """Prompt and generated tokens a second."""
        return self._a_second(self.total_input_tokens + self.total_output_tokens)

    def _a_second(self, count: int) -> float:
        return count / self.duration if self.duration else 0.0

    def to_json(self) -> dict[str, Any]:
        """The figures with vLLM's keys: ``mean_ttft_ms`` and so on."""
        figures: dict[str, Any] = {
            "max_concurrency": self.max_concurrency,
            "num_prompts": self.num_prompts,
            "request_rate": self.request_rate,
            "duration": self.duration,
            "completed": self.completed,
            "failed": self.failed,
            "total_input_tokens": self.total_input_tokens,
            "total_output_tokens": self.total_output_tokens,
            "request_throughput": self.request_throughput,
            "output_throughput": self.output_throughput,
            "total_token_throughput": self.total_token_throughput,
        }
        for name, spread in self.latencies.items():
            for what in Spread.__slots__:
                value = None if spread is None else getattr(spread, what)
                figures[f"{what}_{name}_ms"] = value
        return {**figures, "errors": self.errors}


@dataclass(frozen=True, slots=True)
class Report:
    """A run: what was measured, with which settings, and the figures of its levels."""

    target: str
    kind: str
    model: str
    settings: dict[str, Any]
    interrupted: bool
    levels: list[LevelReport]

    @classmethod
    def of(cls, run: Run, *, interrupted: bool = False) -> Report:
        """The report on what has been measured of `run`."""
        return cls(
            target=run.target.name,
            kind=run.target.kind,
            model=run.target.model,
            settings={**run.settings.to_json(), **run.target.details},
            interrupted=interrupted,
            levels=[LevelReport.of(level) for level in run.levels],
        )

    @property
    def measured(self) -> bool:
        """Whether every level has at least one answer."""
        return bool(self.levels) and all(level.completed for level in self.levels)

    def to_json(self) -> dict[str, Any]:
        """The report as ``modcore bench --json`` prints it."""
        return {
            "modcore": VERSION,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "target": self.target,
            "kind": self.kind,
            "model_id": self.model,
            "settings": self.settings,
            "interrupted": self.interrupted,
            "levels": [level.to_json() for level in self.levels],
        }

    def subtitle(self) -> str:
        """The settings in one line, for people."""
        settings = self.settings
        words = [self.target if self.kind == "url" else settings["dtype"]]
        shared = f" ({settings['shared_prefix']} shared)" if settings["shared_prefix"] else ""
        words.append(f"prompts {settings['prompt_tokens']}{shared}")
        words.append(f"outputs {settings['output_tokens']} tokens")
        words += [f"{name} {value}" for name, value in settings.get("engine", {}).items()]
        if self.levels and self.levels[0].request_rate:
            words.append(f"{self.levels[0].request_rate:g} requests/s arriving")
        return ", ".join(words)
