"""A graph is its nodes in topological order, side by side where they do not need each other."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modcore.flow import FlowError, InvalidFlow, barrier, graph, package, pipeline


def test_diamond() -> None:
    with graph() as g:
        g.a = lambda x: x + 1
        g.b = lambda x: x * 2
        g.c = lambda x: -x
        g.d = lambda b, c: (b, c)
        g.add_edge("__start__", "a")
        g.add_edge("a", ["b", "c"])
        g.add_edge(["b", "c"], "d")
        g.add_edge("d", "__end__")
    assert g(1) == (4, -2)
    assert pipeline(g, sum)(1) == 2


def test_arguments_come_in_the_order_of_the_edges() -> None:
    g = graph(a=lambda x: "a", b=lambda x: "b", c=lambda *args: args)
    g.add_edge("__start__", ["a", "b"])
    g.add_edge("b", "c")
    g.add_edge("__start__", "c", formatter=str)
    g.add_edge(g.a, g.c)
    g.add_edge("c", "__end__")
    assert g(0) == ("b", "0", "a")


def test_several_results_are_a_package() -> None:
    g = graph(a=abs, b=str)
    g.add_edge("__start__", ["a", "b"])
    g.add_edge(["b", "a"], "__end__")
    assert g(-1) == package("-1", 1)


def test_keywords_go_where_the_start_leads() -> None:
    g = graph(a=lambda x, k: x + k, b=lambda x: x)
    g.add_edge("__start__", "a")
    g.add_edge("a", "b")
    g.add_edge("b", "__end__")
    assert g(1, k=2) == 3


def test_package_is_several_arguments() -> None:
    g = graph(a=lambda x, y: package(y, x), b=lambda p, q: p - q)
    g.add_edge("__start__", "a")
    g.add_edge("a", "b")
    g.add_edge("b", "__end__")
    assert g(1, 5) == 4


def combine(number: int) -> Any:
    return lambda *args: (number, *args)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=6))
def test_result_is_that_of_topological_evaluation(rows: list[list[bool]]) -> None:
    """Node n may need the nodes before it, and needs the start where it needs none of them."""
    needs = [[at for at in range(n) if row[at]] for n, row in enumerate(rows)]
    g = graph(**{f"n{n}": combine(n) for n in range(len(rows))})
    made: list[Any] = []
    for number, sources in enumerate(needs):
        for source in sources:
            g.add_edge(f"n{source}", f"n{number}")
        if not sources:
            g.add_edge("__start__", f"n{number}")
        made.append((number, *([made[source] for source in sources] or ["in"])))
    ends = [n for n in range(len(rows)) if not any(n in sources for sources in needs)]
    g.add_edge([f"n{n}" for n in ends], "__end__")
    expected = [made[n] for n in ends]
    assert g("in") == (expected[0] if len(ends) == 1 else package(*expected))


def test_independent_nodes_run_at_the_same_time_and_wait_for_no_level() -> None:
    late = threading.Event()
    g = graph(slow=lambda x: late.wait(10), a=lambda x: x, b=lambda x: late.set())
    g.add_edge("__start__", ["slow", "a"])
    g.add_edge("a", "b")
    g.add_edge(["slow", "b"], "__end__")
    assert g(1) == (True, None)


def test_cycle_is_refused_at_once_with_its_nodes() -> None:
    g = graph(a=abs, b=abs, c=abs)
    g.add_edge("a", "b")
    g.add_edge("b", "c")
    with pytest.raises(InvalidFlow, match="the cycle c → a → b → c"):
        g.add_edge("c", "a")
    with pytest.raises(InvalidFlow, match="the cycle a → a"):
        g.add_edge("a", "a")


def test_unknown_node_is_refused_at_once_with_a_near_miss() -> None:
    with pytest.raises(InvalidFlow, match=r"no item 'prase' .*did you mean 'parse'"):
        graph(parse=abs).add_edge("__start__", "prase")
    with pytest.raises(InvalidFlow, match="is no node of this graph"):
        graph(parse=abs).add_edge(len, "parse")


def test_unreachable_and_dead_nodes_are_refused_at_the_end_of_the_block() -> None:
    with pytest.raises(InvalidFlow, match="no way leads from __start__ to 'b', 'c'"):  # noqa: SIM117
        with graph() as g:
            g.a, g.b, g.c = abs, abs, abs
            g.add_edge("__start__", "a")
            g.add_edge("a", "__end__")
            g.add_edge("b", "c")
            g.add_edge("c", "__end__")
    g = graph(a=abs, b=abs)
    g.add_edge("__start__", ["a", "b"])
    g.add_edge("a", "__end__")
    with pytest.raises(InvalidFlow, match="no way leads from 'b' to __end__"):
        g(1)


def test_error_in_the_block_is_not_hidden_by_the_check() -> None:
    with pytest.raises(KeyError), graph() as g:
        g.a = abs
        raise KeyError("mine")


def test_wrong_ends_nameless_nodes_and_formatters_are_refused() -> None:
    g = graph(a=abs)
    for source, target in (("__end__", "a"), ("a", "__start__")):
        with pytest.raises(InvalidFlow, match="nothing leaves __end__"):
            g.add_edge(source, target)
    with pytest.raises(InvalidFlow, match=r"graph\(name=abs\)"):
        graph(abs)
    with pytest.raises(TypeError, match="formatter of the edge from 'a' to '__end__'"):
        g.add_edge("a", "__end__", formatter="str")  # type: ignore[arg-type]
    with pytest.raises(InvalidFlow, match="no edge leads to __end__"):
        graph()(1)


def test_failing_node_ends_the_call_and_keeps_its_error() -> None:
    begun: list[str] = []
    g = graph(a=lambda x: 1 / 0, b=lambda x: begun.append("b"))
    g.add_edge("__start__", "a")
    g.add_edge("a", "b")
    g.add_edge("b", "__end__")
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline(g)(1)
    assert caught.value.__notes__ == ["pipeline → step 1 'graph' → node 'a'"]
    assert begun == []


def test_several_failures_are_a_group_in_which_each_says_where() -> None:
    both = threading.Barrier(2)

    def fail(error: Exception) -> Any:
        def run(_: object) -> None:
            both.wait(10)
            raise error

        return run

    g = graph(a=fail(ValueError()), b=fail(KeyError()))
    g.add_edge("__start__", ["a", "b"])
    g.add_edge(["a", "b"], "__end__")
    with pytest.raises(ExceptionGroup) as caught:
        g(1)
    notes = {type(e): e.__notes__ for e in caught.value.exceptions}
    assert notes == {ValueError: ["graph → node 'a'"], KeyError: ["graph → node 'b'"]}


def test_failing_formatter_says_on_which_edge() -> None:
    g = graph(a=abs)
    g.add_edge("__start__", "a", formatter=lambda x: 1 / 0)
    g.add_edge("a", "__end__")
    with pytest.raises(ZeroDivisionError) as caught:
        g(1)
    assert caught.value.__notes__ == ["graph → edge from '__start__' to 'a'"]


def test_barrier_in_a_graph_is_an_error() -> None:
    g = graph(a=barrier)
    g.add_edge("__start__", "a")
    g.add_edge("a", "__end__")
    with pytest.raises(FlowError, match="outside the branches of a parallel"):
        g(1)


def _seconds(width: int, *, from_the_end: bool) -> float:
    began = time.process_time()
    chain = graph(**{f"n{number}": lambda value: value for number in range(width)})
    edges = list(
        itertools.pairwise(["__start__", *(f"n{number}" for number in range(width)), "__end__"])
    )
    for source, target in reversed(edges) if from_the_end else edges:
        chain.add_edge(source, target)
    chain._check()
    return time.process_time() - began


@pytest.mark.parametrize("from_the_end", [False, True])
def test_graph_is_built_in_time_linear_in_its_nodes(from_the_end: bool) -> None:
    short = min(_seconds(250, from_the_end=from_the_end) for _ in range(5))
    long = min(_seconds(1000, from_the_end=from_the_end) for _ in range(5))
    assert long < 10 * short
