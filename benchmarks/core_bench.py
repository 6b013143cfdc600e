"""What modules, flows and registries cost beside plain Python and their peers, in one run.

Medians of interleaved rounds. LazyLLM and MMEngine take part where they are installed.

python benchmarks/core_bench.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import flow_bench
import registry_bench
import startup_bench

import modcore

ROUNDS = 15


class Increment(modcore.ModuleBase):
    def forward(self, x: int) -> int:
        return x + 1


def increment(x: int) -> int:
    return x + 1


def by_hand(x: int) -> int:
    for _ in range(10):
        x = increment(x)
    return x


class Tree(modcore.ModuleBase):
    def __init__(self, children: list[modcore.ModuleBase]) -> None:
        super().__init__()
        self.children = children

    def _get_deploy_tasks(self) -> Callable[[], None]:
        return lambda: None


def layered(modules: int) -> Tree:
    """Layers of ten, each module holding the whole layer below: shared children everywhere."""
    layer: list[modcore.ModuleBase] = []
    for _ in range(modules // 10):
        layer = [Tree(layer) for _ in range(10)]
    return Tree(layer)


def seconds(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def compare(
    what: str, ours: Callable[[], Any], theirs: Callable[[], Any], goal: float, count: int
) -> None:
    pairs = [(seconds(ours, count), seconds(theirs, count)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    best = statistics.median(a for a, _ in pairs) * 1e6
    print(f"{what:<46} {best:>9.2f} us {ratio:>6.2f} x   <= {goal:g}")


def main() -> None:
    module, functions = Increment(), modcore.pipeline(*[increment] * 10)
    modules = modcore.pipeline(*(Increment() for _ in range(10)))
    print(f"{'':<46} {'ours':>12} {'ratio':>8}   goal")
    compare("Module call / function call", lambda: module(1), lambda: increment(1), 10, 20_000)
    compare(
        "pipeline of 10 functions / by hand", lambda: functions(1), lambda: by_hand(1), 4, 5_000
    )
    compare("pipeline of 10 Modules / by hand", lambda: modules(1), lambda: by_hand(1), 15, 5_000)
    large, small = layered(1000), layered(500)
    compare("update() of 1,000 modules / of 500", large.update, small.update, 2.3, 1)
    for bench in (flow_bench, registry_bench, startup_bench):
        print()
        bench.main()


if __name__ == "__main__":
    main()
