"""CPU time of starting modcore, as ratios to starting Python.

    python benchmarks/startup_bench.py [--runs 30]

Every command runs in a child process; its user and system time are counted. The runs are
interleaved, so that what else the machine does falls on all of them alike, and the median is shown.
Each command is measured in the environment of this interpreter, and again with 300 more
distributions on the path, 30 of them plugins.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DISTRIBUTIONS = 300
PLUGINS = 30
BASELINE = "python -c pass"
#: Command -> (arguments of the interpreter, the goal as a multiple of the baseline).
COMMANDS = {
    BASELINE: (("-c", "pass"), None),
    "import modcore": (("-c", "import modcore"), 4),
    "modcore list-plugins": (("-m", "modcore", "list-plugins"), 8),
    "modcore list-plugins --json": (("-m", "modcore", "list-plugins", "--json"), 8),
}
METADATA = """\
Metadata-Version: 2.4
Name: {name}
Version: 1.{number}
Summary: A distribution made for a measurement.
Requires-Python: >=3.11
{requirement}
A description, which nobody has to read to list plugins.
"""
ENTRY_POINTS = """\
[modcore]
family{number} = bench_{number}.plugin

[modcore.text_models]
Bench{number}ForCausalLM = bench_{number}.model:Model

[modcore.weights]
bench{number}.pre_post = bench_{number}.weights:PrePost
bench{number}.transformer = bench_{number}.weights:Transformer

[modcore.infer_layers]
bench{number}.pre = bench_{number}.layers:Pre
bench{number}.post = bench_{number}.layers:Post
bench{number}.transformer = bench_{number}.layers:Transformer
"""


class Measurement(NamedTuple):
    """A command in one environment; `site` is put on ``PYTHONPATH`` when there is one."""

    command: str
    site: Path | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=30, help="runs of each command (default: 30)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        fabricate(Path(folder))
        seconds = measure(Path(folder), runs)
    for title, site in (
        ("as installed", None),
        (f"with {DISTRIBUTIONS} more distributions, {PLUGINS} of them plugins", Path(folder)),
    ):
        show(title, {command: seconds[Measurement(command, site)] for command in COMMANDS})


def fabricate(site: Path) -> None:
    """Write the metadata of installed distributions into `site`."""
    for number in range(DISTRIBUTIONS):
        is_plugin = number < PLUGINS
        name = f"modcore-bench-{number}" if is_plugin else f"bench-{number}"
        requirement = "Requires-Dist: modcore>=0.1,<1" if is_plugin else "Requires-Dist: packaging"
        info = site / f"{name.replace('-', '_')}-1.{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            METADATA.format(name=name, number=number, requirement=requirement + "\n")
        )
        (info / "RECORD").write_text("")
        if is_plugin:
            (info / "entry_points.txt").write_text(ENTRY_POINTS.format(number=number))


def measure(site: Path, runs: int) -> dict[Measurement, float]:
    """The median CPU seconds of each command, without and with `site`."""
    measurements = [Measurement(command, where) for command in COMMANDS for where in (None, site)]
    seconds: dict[Measurement, list[float]] = {key: [] for key in measurements}
    for command, where in measurements:  # warms the caches of bytecode and files
        cpu_seconds(COMMANDS[command][0], where)
    for _ in range(runs):
        for measurement in measurements:
            arguments, _ = COMMANDS[measurement.command]
            seconds[measurement].append(cpu_seconds(arguments, measurement.site))
    return {key: statistics.median(values) for key, values in seconds.items()}


def cpu_seconds(arguments: Sequence[str], site: Path | None = None) -> float:
    """User and system time of one run of this interpreter, with `site` on ``PYTHONPATH``."""
    environ = dict(os.environ)
    environ.pop("PYTHONPATH", None)
    if site:
        environ["PYTHONPATH"] = str(site)
    child = subprocess.Popen([sys.executable, *arguments], env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed (exit code {child.returncode})")
    return usage.ru_utime + usage.ru_stime


def show(title: str, seconds: dict[str, float]) -> None:
    """Print one environment's table."""
    print(f"\n{title}\n")
    print(f"{'command':<30} {'CPU ms':>8} {'ratio':>7} {'goal':>6}")
    for command, (_, goal) in COMMANDS.items():
        ratio = seconds[command] / seconds[BASELINE]
        aim = f"<= {goal}" if goal else "-"
        print(f"{command:<30} {seconds[command] * 1e3:>8.1f} {ratio:>7.2f} {aim:>6}")


if __name__ == "__main__":
    main()
