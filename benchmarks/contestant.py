"""What one contestant costs beside plain Python, as JSON on stdout: `core_bench.py` runs this.

    python benchmarks/contestant.py modcore|lazyllm|mmengine

It runs in the interpreter that has the contestant, so it needs nothing else but the standard
library. Every statement is timed in turns with its baseline in the same process, so that what
else the machine does falls on both alike; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import statistics
import sys
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from startup_bench import cpu_seconds

ROUNDS = 200
ROUND_SECONDS = 0.001  # how long a statement is repeated in one round, once at least
WORK_SECONDS = 4.0  # about how long a work may take; slow ones get fewer rounds
LIMIT = 10  # seconds in which a statement has to end once, or it is left alone
IMPORTS = 15

#: Work -> the statement that its contestants are compared with.
BASELINES = {
    "call": "increment(1)",
    "pipeline of functions": "by_hand(1)",
    "pipeline of Modules": "by_hand(1)",
    "parallel": "[each.result() for each in [pool.submit(increment, 1) for _ in range(10)]]",
    "build": 'D[(d := dict(cfg)).pop("type")](**d)',
    "get": "D[name]",
    "update a tree": "small.update()",
    "update shared": "small_shared.update()",
}


class TooLong(BaseException):
    """A statement did not end within `LIMIT`; no handler for errors may swallow it."""


class Thing:
    def __init__(self, a: int, b: int = 2) -> None:
        self.a = a


def increment(x: int) -> int:
    return x + 1


def by_hand(x: int) -> int:
    f = increment
    return f(f(f(f(f(f(f(f(f(f(x))))))))))


def do_nothing(*_: object) -> None:
    pass


def modcore_works() -> tuple[dict[str, str], dict[str, Any]]:
    import modcore

    things = modcore.Registry("thing", scope="top")
    things.register_module(module=Thing)
    names = flows_and_modules(modcore.ModuleBase, modcore, lambda: do_nothing)
    return {**FLOWS_AND_MODULES, **REGISTRIES}, {**names, "R": things}


def lazyllm_works() -> tuple[dict[str, str], dict[str, Any]]:
    import lazyllm

    names = flows_and_modules(lazyllm.ModuleBase, lazyllm, lambda: lazyllm.pipeline(do_nothing))
    return FLOWS_AND_MODULES, names


def mmengine_works() -> tuple[dict[str, str], dict[str, Any]]:
    from mmengine.registry import Registry

    things = Registry("thing", scope="top")
    things.register_module(module=Thing)
    return REGISTRIES, {"R": things}


CONTESTANTS = {"modcore": modcore_works, "lazyllm": lazyllm_works, "mmengine": mmengine_works}
FLOWS_AND_MODULES = {
    "call": "module(1)",
    "pipeline of functions": "functions(1)",
    "pipeline of Modules": "modules(1)",
    "parallel": "branches(1)",
    "update a tree": "large.update()",
    "update shared": "large_shared.update()",
}
REGISTRIES = {"build": "R.build(cfg)", "get": "R.get(name)"}


def flows_and_modules(base: Any, flows: Any, deploy_tasks: Callable[[], Any]) -> dict[str, Any]:
    """What the statements about flows and modules name."""

    class Increment(base):  # type: ignore[misc]
        def forward(self, x: int) -> int:
            return x + 1

    class Node(base):  # type: ignore[misc]
        def _get_deploy_tasks(self) -> Any:
            return deploy_tasks()

    return {
        "module": Increment(),
        "functions": flows.pipeline(*[increment] * 10),
        "modules": flows.pipeline(*(Increment() for _ in range(10))),
        "branches": flows.parallel(*[increment] * 10),
        "large": tree(Node, 1000),
        "small": tree(Node, 500),
        "large_shared": layers(Node, 1000),
        "small_shared": layers(Node, 500),
    }


def tree(node: Callable[[], Any], size: int) -> Any:
    """`size` modules, ten below each; returns the root."""
    nodes = [node() for _ in range(size)]
    for number in range(1, size):
        hang(nodes[number], below=nodes[(number - 1) // 10])
    return nodes[0]


def layers(node: Callable[[], Any], size: int) -> Any:
    """Layers of ten, each module holding the whole layer below: shared children everywhere."""
    layer: list[Any] = []
    for _ in range(size // 10):
        above = [node() for _ in range(10)]
        for parent in above:
            for child in layer:
                hang(child, below=parent)
        layer = above
    root = node()
    for child in layer:
        hang(child, below=root)
    return root


def hang(child: Any, below: Any) -> None:
    setattr(below, f"child_{id(child)}", child)


def main() -> None:
    name = sys.argv[1]
    with contextlib.redirect_stdout(sys.stderr):  # stdout carries the figures alone
        figures = measured(name)
    print(json.dumps(figures), flush=True)
    os._exit(0)  # whatever threads a contestant keeps


def measured(name: str) -> dict[str, Any]:
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return {"absent": True}
    statements, names = CONTESTANTS[name]()
    names |= {"increment": increment, "by_hand": by_hand, "pool": ThreadPoolExecutor(10)}
    names |= {"D": {"Thing": Thing}, "name": "Thing", "cfg": {"type": "Thing", "a": 1, "b": 3}}
    works = {
        work: compared(timer(statement, names), timer(BASELINES[work], names))
        for work, statement in statements.items()
    }
    works["import"] = compared_imports(name)
    return {"version": package.__version__, "works": works}


def timer(statement: str, names: dict[str, Any]) -> timeit.Timer:
    """The names are local to the statement, as they are in a function."""
    setup = "; ".join(f"{name} = names[{name!r}]" for name in names)
    return timeit.Timer(statement, setup, globals={"names": names})


def compared(ours: timeit.Timer, baseline: timeit.Timer) -> dict[str, float]:
    try:
        with limited(LIMIT):
            once = ours.timeit(1) + baseline.timeit(1)
    except TooLong:
        return {"longer_than": LIMIT}
    counts = count_for(ours), count_for(baseline)
    rounds = max(5, min(ROUNDS, int(WORK_SECONDS / max(once, 2 * ROUND_SECONDS))))
    pairs = [
        (ours.timeit(counts[0]) / counts[0], baseline.timeit(counts[1]) / counts[1])
        for _ in range(rounds)
    ]
    return medians(pairs)


def compared_imports(name: str) -> dict[str, float]:
    commands = ("-c", f"import {name}"), ("-c", "pass")
    for command in commands:  # writes bytecode, warms the caches of files
        cpu_seconds(command)
    return medians([(cpu_seconds(commands[0]), cpu_seconds(commands[1])) for _ in range(IMPORTS)])


def count_for(timer: timeit.Timer) -> int:
    """How often to repeat, for a round to be long enough to be timed."""
    count = 1
    while timer.timeit(count) < ROUND_SECONDS:
        count *= 2
    return count


def medians(pairs: list[tuple[float, float]]) -> dict[str, float]:
    return {
        "seconds": statistics.median(ours for ours, _ in pairs),
        "baseline": statistics.median(baseline for _, baseline in pairs),
        "ratio": statistics.median(ours / baseline for ours, baseline in pairs),
    }


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main()
