"""From times to figures: against numpy, and by hand."""

from __future__ import annotations

import io
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from modcore.bench.drive import Level
from modcore.bench.measurement import Measurement
from modcore.bench.report import LevelReport, Report, Spread, percentile
from modcore.bench.table import number, show

FLOATS = st.floats(0, 1e6)


@given(st.lists(FLOATS, min_size=1, max_size=200), st.sampled_from([0, 50, 90, 99, 100]))
def test_percentile_is_numpy_s(values: list[float], percent: float) -> None:
    ranked = sorted(values)
    assert percentile(ranked, percent) == pytest.approx(np.percentile(ranked, percent))


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_spread_is_numpy_s_in_milliseconds(seconds: list[float]) -> None:
    spread = Spread.of(seconds)
    values = 1000 * np.array(seconds)
    assert spread is not None
    assert spread.mean == pytest.approx(values.mean())
    assert spread.std == pytest.approx(values.std(), abs=1e-6)
    assert spread.median == pytest.approx(np.median(values))


def answered(started: float, *pieces: float, tokens: int, error: str | None = None) -> Measurement:
    return Measurement(10, started, tokens, array("d", pieces), error)


def level() -> Level:
    return Level(
        concurrency=2,
        planned=4,
        duration=4.0,
        measurements=[
            answered(1.0, 1.5, 2.0, 3.0, tokens=5),  # a piece may hold several tokens
            answered(2.0, 4.0, tokens=1),
            answered(1.0, 1.1, tokens=1, error="it broke off"),
            answered(1.0, tokens=0, error="refused"),
        ],
    )


def test_figures_are_those_of_the_whole_answers() -> None:
    figures = LevelReport.of(level())
    assert (figures.completed, figures.failed) == (2, 2)
    assert (figures.total_input_tokens, figures.total_output_tokens) == (20, 6)
    assert figures.request_throughput == 0.5
    assert figures.output_throughput == 1.5
    assert figures.total_token_throughput == 6.5
    assert figures.first_error == "it broke off"
    as_json = figures.to_json()
    assert as_json["mean_ttft_ms"] == 1250
    assert as_json["median_itl_ms"] == 750
    assert as_json["mean_tpot_ms"] == 375  # 1.5 seconds for four tokens after the first
    assert as_json["mean_e2el_ms"] == 2000
    assert as_json["errors"] == {"it broke off": 1, "refused": 1}


def test_level_without_an_answer_has_no_figures_and_a_table_all_the_same() -> None:
    empty = LevelReport.of(Level(1, 8))
    assert empty.to_json()["mean_ttft_ms"] is None
    assert empty.output_throughput == 0
    assert "0 of 8" in shown([empty])


def report(levels: list[LevelReport]) -> Report:
    settings: dict[str, Any] = {
        "prompt_tokens": "16-256",
        "output_tokens": "64",
        "shared_prefix": 8,
        "dtype": "bfloat16",
        "engine": {"weights": "int8"},
    }
    return Report("./m", "checkpoint", "m[1]", settings, False, levels)


def shown(levels: list[LevelReport], **options: Any) -> str:
    file = io.StringIO()
    show(report(levels), Console(file=file, **options))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_table_fits_and_leaves_nothing_out(width: int, is_terminal: bool) -> None:
    big = Level(1024, 100_000, duration=123456.0)
    big.measurements = [answered(0, 20_000.0, 40_000.0, tokens=2) for _ in range(3)]
    said = shown(
        [LevelReport.of(level()), LevelReport.of(big)],
        width=width,
        force_terminal=is_terminal,
        no_color=True,
    )
    assert "…" not in said
    assert "m[1]: bfloat16, prompts 16-256 (8 shared), outputs 64 tokens, weights int8" in said
    assert "3 of 100000" in said and "40.0M" in said
    assert ("\x1b" in said) == is_terminal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.00"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1e5, "100000"),
        (2e6, "2.0M"),
    ],
)
def test_number_has_three_figures(value: float | None, text: str) -> None:
    assert number(value) == text
