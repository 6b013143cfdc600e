"""What modules, flows and registries cost beside plain Python, LazyLLM and MMEngine, in one run.

    python benchmarks/core_bench.py [--lazyllm-python PATH] [--mmengine-python PATH]

Each contestant is measured by `contestant.py` in a process of its own, so the peers may live in
environments of their own (``pip install lazyllm``, ``pip install mmengine``). Unless told
otherwise they are looked for where this runs; one that is not there is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

CONTESTANT = Path(__file__).with_name("contestant.py")


class Work(NamedTuple):
    """A row: what is done, what the ratio is to, and how large it may be for modcore."""

    name: str
    title: str
    beside: str
    goal: float


WORKS = [
    Work("call", "Module call", "a function call", 10),
    Work("pipeline of functions", "pipeline of 10 functions", "composed by hand", 4),
    Work("pipeline of Modules", "pipeline of 10 Modules", "functions by hand", 15),
    Work("parallel", "parallel of 10", "ThreadPoolExecutor", 1.5),
    Work("build", "Registry.build(cfg)", "a dict, by hand", 1.5),
    Work("get", "Registry.get(name)", "dict[name]", 3),
    Work("update a tree", "update() 1,000 modules, a tree", "of 500", 2.3),
    Work("update shared", "update() 1,000, shared children", "of 500", 2.3),
    Work("import", "import (CPU time)", "python -c pass", 4),
]
PEERS = {"lazyllm": "LazyLLM", "mmengine": "MMEngine"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for peer, shown in PEERS.items():
        parser.add_argument(
            f"--{peer}-python",
            metavar="PATH",
            default=sys.executable,
            help=f"the Python that has {shown} (default: this one)",
        )
    options = vars(parser.parse_args())
    figures = {"modcore": measured("modcore", sys.executable)}
    for peer, shown in PEERS.items():
        found = measured(peer, options[f"{peer}_python"])
        if found.get("absent"):
            print(f"{shown} is left out: it is not installed (pip install {peer}).")
        elif "failed" in found:
            print(f"{shown} is left out: {found['failed']}")
        else:
            figures[peer] = found
    if "failed" in figures["modcore"]:
        raise SystemExit(f"modcore: {figures['modcore']['failed']}")
    show(figures)


def measured(name: str, python: str) -> dict[str, Any]:
    """What `contestant.py` says of `name`, from the interpreter `python`."""
    with tempfile.TemporaryDirectory() as home:  # LazyLLM writes logs and traces
        environ = {**os.environ, "LAZYLLM_HOME": home}
        try:
            child = subprocess.run(
                [python, str(CONTESTANT), name], env=environ, capture_output=True, text=True
            )
        except OSError as error:
            return {"failed": f"{python} cannot be run ({error.strerror})."}
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"failed": f"measuring it ended with exit code {child.returncode} ({last})"}
    figures: dict[str, Any] = json.loads(child.stdout)
    return figures


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Print the table: a row for each work, a time and a ratio for each contestant."""
    ours = figures["modcore"]
    peers = [peer for peer in PEERS if peer in figures]
    heads = [f"modcore {ours['version']}", *(f"{PEERS[p]} {figures[p]['version']}" for p in peers)]
    print(f"\n{'':<60} {heads[0]:^28}" + "".join(f"  {head:>16}" for head in heads[1:]))
    print(
        f"{'':<32}{'beside':<19} {'time':>8} {'time':>8} {'ratio':>6} {'goal':>7} {'met':>4}"
        + "".join(f"  {'time':>8} {'ratio':>7}" for _ in peers)
    )
    for work in WORKS:
        own = ours["works"][work.name]
        met = "yes" if own["ratio"] <= work.goal else "NO"
        print(
            f"{work.title:<32}{work.beside:<19} {duration(own['baseline'])} {duration(own['seconds'])} "
            f"{ratio(own['ratio']):>6} {f'<= {work.goal:g}':>7} {met:>4}"
            + "".join(f"  {cell(figures[peer]['works'].get(work.name))}" for peer in peers)
        )
    print(
        "\nTimes are medians. A ratio is to what its row says it is beside, measured in turns in the\n"
        "contestant's own process; the first time column is that of modcore's process."
    )


def cell(figure: dict[str, float] | None) -> str:
    """A peer's time and ratio."""
    if figure is None:
        return f"{'-':>8} {'-':>7}"
    if "longer_than" in figure:
        return f"{'> ' + duration(figure['longer_than']).strip():>8} {'-':>7}"
    return f"{duration(figure['seconds'])} {ratio(figure['ratio']):>7}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them, eight characters wide."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{f'{seconds / size:.3g} {unit}':>8}"
    return f"{f'{seconds * 1e9:.0f} ns':>8}"


def ratio(value: float) -> str:
    """With a decimal where it says something."""
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
