"""One flow called from many threads gives everyone their own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modcore.flow import _1, barrier, bind, graph, ifs, loop, parallel, pipeline, switch, warp


def flow_of_all_kinds() -> Any:
    g = graph(a=lambda x: x + 1, b=lambda x: x * 2, c=lambda a, b: a + b)
    g.add_edge("__start__", ["a", "b"])
    g.add_edge(["a", "b"], "c")
    g.add_edge("c", "__end__")
    with pipeline() as p:
        p.choose = switch({lambda x: x % 2 == 0: lambda x: x * 10, "default": lambda x: -x})
        p.turn = loop(lambda x: x + 1, count=3)
        p.pick = ifs(lambda x: x > 0, g, lambda x: x)
        p.both = parallel(
            pipeline(barrier, bind(lambda x: x, p.input)),
            pipeline(barrier, bind(lambda x: x, p.output("choose"))),
        )
        p.many = warp(lambda part: part)
        p.end = bind(lambda *given: given, p.output("both")[0], _1, p.output("pick"))
    return p


def by_hand(x: int) -> tuple[int, int, int]:
    chosen = x * 10 if x % 2 == 0 else -x
    turned = chosen + 3
    return x, chosen, (turned + 1) + turned * 2 if turned > 0 else turned


def test_two_hundred_calls_over_sixteen_threads_do_not_mix() -> None:
    flow = flow_of_all_kinds()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(flow, range(200))) == [by_hand(x) for x in range(200)]


def test_errors_of_many_threads_each_have_their_own_note() -> None:
    def fail(x: int) -> None:
        raise ValueError(x)

    flow = pipeline(parallel(a=abs, b=fail))

    def call(x: int) -> tuple[Any, list[str]]:
        with pytest.raises(ValueError, match=str(x)) as caught:
            flow(x)
        return caught.value.args[0], caught.value.__notes__

    with ThreadPoolExecutor(16) as pool:
        for x, (value, notes) in enumerate(pool.map(call, range(200))):
            assert value == x
            assert notes == ["pipeline → step 1 'parallel' → branch 'b'"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_child_of_a_fork_starts_threads_of_its_own() -> None:
    branches = parallel(*[pipeline(barrier, abs)] * 4)
    assert branches(-1) == (1,) * 4
    child = os.fork()
    if not child:
        os._exit(0 if branches(-1) == (1,) * 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
