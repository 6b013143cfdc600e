"""The report as a picture: throughput and latencies over the concurrency. Needs ``modcore[bench]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modcore.bench.report import LevelReport, Report
from modcore.bench.table import number
from modcore.errors import MissingExtra

#: Okabe and Ito's colours, which the colour-blind tell apart too; marks and lines differ as well.
_STYLES: tuple[dict[str, str], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#E69F00", "marker": "s", "linestyle": "--"},
    {"color": "#CC79A7", "marker": "^", "linestyle": ":"},
)
_PERCENTILES = {"median": "median", "p90": "90th percentile", "p99": "99th percentile"}


def verify_plotting() -> None:
    """Raise MissingExtra when there is nothing to draw with."""
    _figure_class()


def draw(report: Report, file: Path) -> None:
    """Write `report` as a PNG to `file`; raises MissingExtra, or OSError when it cannot be written."""
    figure = _figure_class()(figsize=(13, 4.6), layout="constrained")
    figure.suptitle(f"{report.model}\n{report.subtitle()}", fontsize=12, parse_math=False)
    throughput, ttft, itl = figure.subplots(1, 3)
    measured = [level for level in report.levels if level.completed]
    levels = sorted(measured, key=lambda level: level.max_concurrency)
    _draw_throughput(throughput, levels)
    _draw_latency(ttft, levels, "ttft", "Time to first token")
    _draw_latency(itl, levels, "itl", "Inter-token latency")
    figure.savefig(file, format="png", dpi=150)


def _draw_throughput(axes: Any, levels: list[LevelReport]) -> None:
    concurrency = [level.max_concurrency for level in levels]
    lines = {
        "generated": [level.output_throughput for level in levels],
        "generated and read": [level.total_token_throughput for level in levels],
    }
    for (name, values), style in zip(lines.items(), _STYLES, strict=False):
        axes.plot(concurrency, values, label=name, **style)
        for x, y in zip(concurrency, values, strict=True):
            axes.annotate(
                number(y), (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=8
            )
    _finish(axes, levels, "Throughput", "tokens per second")


def _draw_latency(axes: Any, levels: list[LevelReport], name: str, title: str) -> None:
    for (field, label), style in zip(_PERCENTILES.items(), _STYLES, strict=True):
        points = [
            (level.max_concurrency, getattr(spread, field))
            for level in levels
            if (spread := level.latencies[name]) is not None
        ]
        axes.plot([x for x, _ in points], [y for _, y in points], label=label, **style)
    _finish(axes, levels, title, "milliseconds")


def _finish(axes: Any, levels: list[LevelReport], title: str, unit: str) -> None:
    concurrency = [level.max_concurrency for level in levels]
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("concurrent requests")
    axes.set_ylabel(unit)
    axes.set_xscale("log", base=2)
    axes.set_xticks(concurrency, [str(value) for value in concurrency])
    axes.minorticks_off()
    axes.margins(x=0.1, y=0.15)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="best")


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise MissingExtra(
            "A plot needs matplotlib, which is not installed; try: pip install 'modcore[bench]'"
        ) from error
    return Figure
