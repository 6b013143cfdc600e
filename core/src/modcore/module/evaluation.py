"""Evaluation: a set of rows, the answers to them, and the scores."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modcore.errors import InvalidRequest
from modcore.flow.calls import run
from modcore.module.jsonl import read_jsonl
from modcore.registry import Registry, RegistryMiss
from modcore.registry.miss import explain_miss

if TYPE_CHECKING:
    from modcore.module.base import ModuleBase

#: Metrics by name: ``metric(answer, expected) -> float``, averaged over the rows. One that has the
#: attribute ``of_module = True`` is ``metric(module, rows) -> float`` instead, over all rows at once.
METRICS = Registry("metric", scope="modcore")
METRICS.register_module("perplexity", module="modcore.training.perplexity:perplexity")


@METRICS.register_module()
def exact_match(answer: Any, expected: Any) -> float:
    """1 when the answer is the expected one, white space at the ends of texts aside."""
    if isinstance(answer, str) and isinstance(expected, str):
        return float(answer.strip() == expected.strip())
    return float(answer == expected)


@METRICS.register_module()
def contains(answer: Any, expected: Any) -> float:
    """1 when the expected answer is part of the answer, as text."""
    return float(str(expected) in str(answer))


@dataclass(frozen=True, slots=True)
class EvalReport:
    """The average of each metric over `rows` rows, NaN over none; printed as a table."""

    scores: Mapping[str, float]
    rows: int

    def __str__(self) -> str:
        width = max(map(len, ("metric", *self.scores)))
        lines = [
            f"{name:<{width}}  {'n/a' if math.isnan(score) else f'{score:.3f}'}"
            for name, score in self.scores.items()
        ]
        over = "1 row" if self.rows == 1 else f"{self.rows} rows"
        return "\n".join([f"{'metric':<{width}}  score ({over})", *lines])


class EvalSet:
    """The rows, and the metrics that score the answers to them; see `ModuleBase.evalset`."""

    def __init__(
        self,
        rows: Sequence[Any] | str,
        load_f: Callable[[str], Sequence[Any]] | None,
        metrics: Sequence[str] | str,
    ) -> None:
        metrics = [metrics] if isinstance(metrics, str) else metrics
        if isinstance(rows, (bytes, Mapping)) or not isinstance(rows, (Iterable, Path)):
            raise TypeError(f"an evaluation set is a list of rows, or a path; this is {rows!r:.80}")
        if not isinstance(metrics, Iterable):
            raise TypeError(f"metrics is {metrics!r:.80}; it has to be a list of names.")
        self.rows = list(_load(rows, load_f) if isinstance(rows, (str, Path)) else rows)
        self._metrics = {name: _metric(name) for name in metrics}
        for number, row in enumerate(self.rows, 1):
            if self._metrics and not (isinstance(row, Mapping) and "expected" in row):
                raise ValueError(
                    f"row {number} has no 'expected' answer, which {', '.join(metrics)} "
                    'compare with; write it as {"input": ..., "expected": ...}.'
                )

    def answers(self, module: ModuleBase) -> list[Any]:
        """The module's answers, in order; an error says at which row it was raised."""
        answers = []
        for number, row in enumerate(self.rows, 1):
            try:
                answers.append(self.ask(module, row))
            except Exception as error:
                error.add_note(f"at row {number} of the evaluation set")
                raise
        return answers

    def ask(self, module: ModuleBase, row: Any) -> Any:
        """The module's answer to `row`: awaited, and gathered where it comes in pieces."""
        if not isinstance(row, Mapping):
            return _settled(module(row))
        arguments = {key: value for key, value in row.items() if key != "expected"}
        if set(arguments) == {"input"}:
            return _settled(module(arguments["input"]))
        return _settled(module(**arguments))

    def report(self, module: ModuleBase, answers: Sequence[Any]) -> EvalReport:
        """The scores of `answers`, which are the module's."""
        scores = {
            name: self._score(metric, module, answers) for name, metric in self._metrics.items()
        }
        return EvalReport(scores, len(self.rows))

    def _score(
        self, metric: Callable[[Any, Any], float], module: ModuleBase, answers: Sequence[Any]
    ) -> float:
        if not self.rows:
            return math.nan
        if getattr(metric, "of_module", False):
            return metric(module, self.rows)
        pairs = zip(answers, self.rows, strict=True)
        return sum(metric(answer, row["expected"]) for answer, row in pairs) / len(self.rows)


def _settled(answer: Any) -> Any:
    if inspect.isawaitable(answer) or isinstance(answer, AsyncIterator):
        return run(_awaited(answer))
    return list(answer) if isinstance(answer, Iterator) else answer


async def _awaited(answer: Any) -> Any:
    if isinstance(answer, AsyncIterator):
        return [piece async for piece in answer]
    return await answer


def _metric(name: str) -> Callable[[Any, Any], float]:
    found: Callable[[Any, Any], float] | None = METRICS.get(name)
    if found is None:
        raise RegistryMiss(explain_miss(METRICS, name))
    return found


def _load(path: str | Path, load_f: Callable[[str], Sequence[Any]] | None) -> Sequence[Any]:
    file = Path(path)
    if not _is_file(file):
        shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}…"
        raise FileNotFoundError(
            f"there is no evaluation set {shown}; give the rows, or the path of a file."
        )
    if load_f is not None:
        return load_f(str(file))
    if file.suffix == ".jsonl":
        return [row for row, _ in read_jsonl(file, "evalset")]
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            return _rows(json.loads(text), file)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{file} is not UTF-8 text; save the file as UTF-8.", param="evalset"
        ) from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{file} is not JSON ({error}).", param="evalset") from error
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # longer than a path can be, or with a null byte
        return False


def _rows(value: Any, file: Path) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(
            f"{file} holds a JSON {type(value).__name__} where a list of rows is expected."
        )
    return value
