"""The report as tables for a terminal, or as plain columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modcore.bench.report import LATENCIES, LevelReport, Report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_THROUGHPUT = ("concurrency", "done", "failed", "seconds", "req/s", "output tok/s", "total tok/s")
_LATENCY = ("latency, ms", "concurrency", "mean", "median", "p90", "p99")


def show(report: Report, console: Console) -> None:
    """Print `report`."""
    title = f"{report.model}: {report.subtitle()}"
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    for table in (_throughput(report, console), _latencies(report, console)):
        if not console.is_terminal:  # else the table has a margin of its own
            console.print()
        console.print(table)


def _throughput(report: Report, console: Console) -> Table:
    table = _table(_THROUGHPUT, console)
    for level in report.levels:
        table.add_row(
            str(level.max_concurrency),
            _done(level),
            f"[red]{level.failed}[/]" if level.failed else "0",
            number(level.duration),
            number(level.request_throughput),
            number(level.output_throughput),
            number(level.total_token_throughput),
        )
    return table


def _done(level: LevelReport) -> str:
    if level.completed + level.failed == level.num_prompts:
        return str(level.completed)
    return f"{level.completed} of {level.num_prompts}"


def _latencies(report: Report, console: Console) -> Table:
    table = _table(_LATENCY, console)
    table.columns[0].justify = "left"
    for name, meaning in LATENCIES.items():
        for place, level in enumerate(report.levels):
            spread = level.latencies[name]
            values = (spread.mean, spread.median, spread.p90, spread.p99) if spread else (None,) * 4
            table.add_row(
                "" if place else f"{meaning} [dim]({name.upper()})[/]",
                str(level.max_concurrency),
                *map(number, values),
                end_section=place == len(report.levels) - 1,
            )
    return table


def _table(columns: tuple[str, ...], console: Console) -> Table:
    from rich import box
    from rich.table import Table

    look = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(
        box=look, pad_edge=False, collapse_padding=console.is_terminal, header_style="bold"
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def number(value: float | None) -> str:
    """`value` with three figures that mean something; ``-`` for none."""
    if value is None:
        return "-"
    if value >= 1e6:
        return f"{value / 1e6:.1f}M"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
