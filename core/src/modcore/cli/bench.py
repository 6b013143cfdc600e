"""``modcore bench``: throughput and latencies of a checkpoint or a server."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modcore.cli.bench_options import add_arguments, settings_of
from modcore.cli.engine_options import build_engine, given_engine_options
from modcore.cli.text import printable
from modcore.errors import InvalidRequest, ModcoreError
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.bench.drive import Level, Run
    from modcore.bench.measurement import Target
    from modcore.bench.report import Report
    from modcore.bench.settings import Settings

SUMMARY = "Measure throughput and latencies of a checkpoint or a server."


def run(args: argparse.Namespace) -> int:
    """Measure; exit code 1 when a concurrency had no answer, 130 when interrupted."""
    from modcore.bench.drive import Run
    from modcore.bench.report import Report

    settings = settings_of(args)
    _verify_files(args)
    with _target(args, settings) as target, _progress(settings) as on_answer:
        measuring = Run(target, settings, on_answer)
        interrupted = _measure(measuring)
    report = Report.of(measuring, interrupted=interrupted)
    _show(report, args)
    if interrupted:
        print("interrupted", file=sys.stderr)
        return 130
    return 0 if report.measured else 1


def _verify_files(args: argparse.Namespace) -> None:
    """Learn before the measurement, not after it, that its result cannot be written."""
    for param in ("output", "plot"):
        file = getattr(args, param)
        if file is None:
            continue
        if not Path(file).absolute().parent.is_dir():
            raise InvalidRequest(f"there is no directory for {file}.", param=param)
        if Path(file).is_dir():
            raise InvalidRequest(f"{file} is a directory; name a file in it.", param=param)
    if args.plot is not None:
        from modcore.bench.plot import verify_plotting

        if Path(args.plot).suffix.lower() != ".png":
            raise InvalidRequest(f"{args.plot} has to end in .png.", param="plot")
        verify_plotting()


@contextmanager
def _target(args: argparse.Namespace, settings: Settings) -> Iterator[Target]:
    if "://" in args.target:
        given = given_engine_options(args)
        for option in (*given.get("vision", ()), *given):
            raise InvalidRequest("a server has its own; leave it out.", param=option)
        from modcore.bench.url_target import UrlTarget

        server = UrlTarget(args.target, args.model, _api_key(args), settings.text_prompts)
        asyncio.run(server.connect())
        yield server
        return
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", args.target) and not Path(args.target).exists():
        raise InvalidRequest(
            f"TARGET {args.target} is no directory; a server's URL begins with http://."
        )
    for option in ("model", "api_key_env", "text_prompts"):
        if getattr(args, option):
            raise InvalidRequest("is for the URL of a server; leave it out.", param=option)
    engine = build_engine(args.target, args)
    from modcore.bench.engine_target import EngineTarget

    checkpoint = EngineTarget(engine, args.target, given_engine_options(args))
    try:
        yield checkpoint
    finally:
        checkpoint.close()


def _api_key(args: argparse.Namespace) -> str | None:
    if args.api_key_env is None:
        return None
    key = os.environ.get(args.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            f"the variable {args.api_key_env!r} holds no key; it has to be printable ASCII.",
            param="api_key_env",
        )
    return key


def _measure(measuring: Run) -> bool:
    """Run to the end; true when somebody interrupted it."""
    try:
        asyncio.run(measuring.run())
    except KeyboardInterrupt:
        if not measuring.levels:
            raise
        return True
    return False


@contextmanager
def _progress(settings: Settings) -> Iterator[Callable[[Level], None]]:
    """A bar on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    total = sum(map(settings.requests_at, settings.concurrency))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("warming up", total=total)
        yield lambda level: bar.update(
            task, advance=1, description=f"concurrency {level.concurrency}"
        )


def _show(report: Report, args: argparse.Namespace) -> None:
    """Print the report, and write what was asked for."""
    as_json = json.dumps(report.to_json(), indent=2)
    if args.json:
        print(as_json)
    else:
        from rich.console import Console

        from modcore.bench.table import show

        show(report, Console())
    for level in report.levels:
        if level.first_error:
            print(
                f"concurrency {level.max_concurrency}: {level.failed} of {level.num_prompts} "
                f"requests failed; the first: {printable(level.first_error)}",
                file=sys.stderr,
            )
    try:
        if args.output is not None:
            Path(args.output).write_text(as_json + "\n")
        if args.plot is not None:
            from modcore.bench.plot import draw

            draw(report, Path(args.plot))
    except OSError as error:
        raise ModcoreError(f"The result cannot be written: {error}.") from error


COMMAND = Command("bench", SUMMARY, add_arguments, run)
