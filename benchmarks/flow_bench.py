"""Flows beside the same work done by hand, as ratios of medians.

    python benchmarks/flow_bench.py [--rounds 200]

The rounds are interleaved, so that what else the machine does falls on all of them alike. The peers
are in `core_bench.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modcore.flow import parallel, pipeline

WIDTH = 10


def step(value: int) -> int:
    return value + 1


def brief_wait(value: int) -> int:
    time.sleep(0.001)
    return value


async def astep(value: int) -> int:
    return value + 1


def by_hand(x: int) -> int:
    return step(step(step(step(step(step(step(step(step(step(x))))))))))


async def abare(x: int) -> None:
    await asyncio.gather(*(astep(x) for _ in range(WIDTH)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="rounds (default: 200)")
    rounds = parser.parse_args().rounds
    pool = ThreadPoolExecutor(WIDTH)

    def bare(function: Callable[[int], int]) -> Callable[[int], Any]:
        def call(x: int) -> list[int]:
            return [future.result() for future in [pool.submit(function, x) for _ in range(WIDTH)]]

        return call

    tables: dict[str, tuple[int, float, dict[str, Callable[[int], Any]]]] = {
        "10 functions in a row": (
            200,
            4,
            {"by hand": by_hand, "pipeline": pipeline(*[step] * WIDTH)},
        ),
        "10 functions side by side": (
            5,
            1.5,
            {"ThreadPoolExecutor": bare(step), "parallel": parallel(*[step] * WIDTH)},
        ),
        "10 waits of 1 ms side by side": (
            1,
            1.5,
            {"ThreadPoolExecutor": bare(brief_wait), "parallel": parallel(*[brief_wait] * WIDTH)},
        ),
        "10 coroutine functions side by side": (
            1,
            2,
            {
                "asyncio.run(gather)": lambda x: asyncio.run(abare(x)),
                "parallel": parallel(*[astep] * WIDTH),
            },
        ),
    }
    for title, (calls, goal, contestants) in tables.items():
        show(title, goal, measure(contestants, rounds, calls))
    pool.shutdown()


def measure(
    contestants: dict[str, Callable[[int], Any]], rounds: int, calls: int
) -> dict[str, float]:
    """The median seconds of a call of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 5):
        for name, call in contestants.items():
            start = time.perf_counter()
            for _ in range(calls):
                call(1)
            if number >= 5:  # the first rounds start threads and fill caches
                seconds[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title: str, goal: float, seconds: dict[str, float]) -> None:
    """Print one table; the first contestant is what the others are compared with."""
    baseline = next(iter(seconds.values()))
    print(f"\n{title}\n")
    print(f"{'':<22} {'µs':>9} {'ratio':>7} {'goal':>7}")
    for number, (name, each) in enumerate(seconds.items()):
        aim = f"<= {goal:g}" if number == 1 else "-"
        print(f"{name:<22} {each * 1e6:>9.2f} {each / baseline:>7.2f} {aim:>7}")


if __name__ == "__main__":
    main()
