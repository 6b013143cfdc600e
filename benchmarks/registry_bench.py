"""What a registry costs, as ratios to a plain dict; `core_bench.py` has MMEngine beside it.

    python benchmarks/registry_bench.py [--rounds 60]

A round times every statement once; the rounds are interleaved, so that what else the machine does
falls on all of them alike, and the median is shown.
"""

from __future__ import annotations

import argparse
import statistics
import timeit
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from modcore.registry import DefaultScope, Registry

CALLS = 20_000


class Thing:
    def __init__(self, a: int, b: int = 2) -> None:
        self.a = a


class Work(NamedTuple):
    """A statement, what it is compared with, and the ratio that is aimed at."""

    name: str
    statement: str
    baseline: str
    goal: float | None = None
    scope: str | None = None


BUILD = 'D[(d := dict(cfg)).pop("type")](**d)'
GET = "D[name]"
WORKS = [
    Work("dict: build", BUILD, BUILD),
    Work("modcore: build", "R.build(cfg)", BUILD, 1.5),
    Work("modcore: build, from a child registry", "K.build(cfg)", BUILD),
    Work("modcore: build, with a default scope", "R.build(cfg)", BUILD, scope="kid"),
    Work("modcore: build, type is a class", "R.build(by_class)", BUILD),
    Work("modcore: build, with _scope_", "R.build(scoped)", BUILD),
    Work("dict: get", GET, GET),
    Work("modcore: get", "R.get(name)", GET, 3),
    Work("modcore: get, from a child registry", "K.get(name)", GET),
    Work("modcore: get, with a scope in the key", "R.get('kid.Thing')", GET),
    Work("modcore: get of a miss", "R.get('Nothing')", GET),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="rounds (default: 60)")
    rounds = parser.parse_args().rounds
    show(WORKS, measure(WORKS, things(), rounds))


def things() -> dict[str, Any]:
    """What the statements name."""
    top = Registry("thing", scope="top")
    names = {
        "D": {"Thing": Thing},
        "R": top,
        "K": Registry("thing", scope="kid", parent=top),
        "name": "Thing",
        "cfg": {"type": "Thing", "a": 1, "b": 3},
        "by_class": {"type": Thing, "a": 1, "b": 3},
        "scoped": {"type": "Thing", "a": 1, "b": 3, "_scope_": "kid"},
    }
    top.register_module(module=Thing)
    return names


def measure(works: list[Work], names: dict[str, Any], rounds: int) -> dict[str, float]:
    """The median seconds of one call of each statement, by the name of the work.

    The names are local to the statements, as they are in a function that builds things.
    """
    setup = "; ".join(f"{name} = names[{name!r}]" for name in names)
    timers = {
        work.name: timeit.Timer(work.statement, setup, globals={"names": names}) for work in works
    }
    seconds: dict[str, list[float]] = {work.name: [] for work in works}
    for _ in range(rounds):
        for work in works:
            with in_scope(work.scope):
                seconds[work.name].append(timers[work.name].timeit(CALLS) / CALLS)
    return {name: statistics.median(values) for name, values in seconds.items()}


def in_scope(scope: str | None) -> AbstractContextManager[None]:
    return DefaultScope.overwrite_default_scope(scope) if scope else nullcontext()


def show(works: list[Work], seconds: dict[str, float]) -> None:
    """Print the table."""
    baselines = {work.statement: seconds[work.name] for work in works if work.name[:4] == "dict"}
    print(f"{'':<40} {'ns':>8} {'ratio':>7} {'goal':>7}")
    for work in works:
        ratio = seconds[work.name] / baselines[work.baseline]
        goal = f"<= {work.goal}" if work.goal else "-"
        print(f"{work.name:<40} {seconds[work.name] * 1e9:>8.0f} {ratio:>7.2f} {goal:>7}")


if __name__ == "__main__":
    main()
