"""Every flow has an async form, and coroutine functions are items like any other."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from modcore.flow import (
    _0,
    bind,
    diverter,
    graph,
    ifs,
    loop,
    parallel,
    pipeline,
    switch,
    warp,
)


async def aplus(value: int) -> int:
    await asyncio.sleep(0)
    return value + 1


class Module:
    """Has both forms and counts which was used."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, value: int) -> int:
        self.calls.append("sync")
        return value + 1

    async def acall(self, value: int) -> int:
        self.calls.append("async")
        await asyncio.sleep(0)
        return value + 1


def one_node(function: Callable[..., Any]) -> graph:
    g = graph(a=function)
    g.add_edge("__start__", "a")
    g.add_edge("a", "__end__")
    return g


SHAPES: dict[str, Callable[[Any], Any]] = {
    "pipeline": lambda f: pipeline(f),
    "named pipeline": lambda f: pipeline(a=f),
    "parallel": lambda f: parallel(f).sum,
    "threads": lambda f: parallel(f, _concurrent="thread").sum,
    "tasks": lambda f: parallel(f, _concurrent="async").sum,
    "sequential": lambda f: parallel.sequential(f).sum,
    "diverter": lambda f: diverter(f).sum,
    "warp": lambda f: warp(f).sum,
    "switch": lambda f: switch({"default": f}),
    "condition": lambda f: ifs(f, f, f),
    "loop": lambda f: loop(f, count=1),
    "graph": one_node,
    "bound": lambda f: pipeline(bind(f, _0)),
    "nested": lambda f: pipeline(parallel(pipeline(f)).sum),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_async_form_gives_the_same(shape: str) -> None:
    for item in (aplus, lambda x: x + 1, lambda x: aplus(x), Module()):
        assert await SHAPES[shape](item).acall(1) == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_sync_form_runs_coroutine_functions_to_completion(shape: str) -> None:
    assert SHAPES[shape](aplus)(1) == 2
    assert SHAPES[shape](lambda x: aplus(x))(1) == 2


@pytest.mark.parametrize("shape", SHAPES)
async def test_sync_form_works_where_a_loop_is_running(shape: str) -> None:
    assert SHAPES[shape](aplus)(1) == 2


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "tasks"])
def test_module_is_called_in_the_form_of_the_flow(shape: str) -> None:
    module = Module()
    flow = SHAPES[shape](module)
    assert flow(1) == 2
    assert set(module.calls) == {"sync"}
    module.calls.clear()
    assert asyncio.run(flow.acall(1)) == 2
    assert set(module.calls) == {"async"}


async def test_coroutines_run_at_the_same_time() -> None:
    here = 0
    all_here = asyncio.Event()

    async def branch(_: object) -> int:
        nonlocal here
        here += 1
        if here == 10:
            all_here.set()
        await all_here.wait()
        return here

    assert await parallel(*[branch] * 10).acall(0) == (10,) * 10


async def test_blocking_functions_run_in_threads_beside_the_loop() -> None:
    meet = threading.Barrier(3)
    blocking = pipeline(lambda _: meet.wait(10) >= 0)
    assert await parallel(blocking, blocking, blocking).acall(0) == (True,) * 3


async def test_context_variables_reach_every_branch_and_stay_there() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("v", default=0)

    async def asets(x: int) -> int:
        found = variable.get()
        variable.set(x)
        return found

    def sets(x: int) -> int:
        found = variable.get()
        variable.set(x)
        return found

    variable.set(7)
    for way in (True, False, "async"):
        branches = parallel(asets, sets, asets, sets, _concurrent=way)  # type: ignore[arg-type]
        assert await branches.acall(1) == (7, 7, 7, 7)
    assert await one_node(asets).acall(1) == 7
    assert variable.get() == 7


async def test_async_generator_travels_as_one() -> None:
    async def stream(n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    made = await pipeline(stream, lambda s: s).acall(3)
    assert [number async for number in made] == [0, 1, 2]


async def test_post_action_may_be_a_coroutine_function() -> None:
    seen: list[int] = []

    async def note(value: int) -> None:
        seen.append(value)

    assert await pipeline(aplus, post_action=note).acall(1) == 2
    assert pipeline(aplus, post_action=note)(2) == 3
    assert seen == [2, 3]


async def test_two_hundred_tasks_do_not_mix() -> None:
    with pipeline() as p:
        p.a = aplus
        p.both = parallel(x=aplus, y=bind(lambda a, x: (a, x), _0, p.input)).asdict
        p.c = bind(lambda d, x, a: (d, x, a), _0, p.input, p.output("a"))
    made = await asyncio.gather(*(p.acall(x) for x in range(200)))
    assert made == [({"x": x + 2, "y": (x + 1, x)}, x, x + 1) for x in range(200)]
