"""A parallel gives its results in the order of its branches, in whatever way they run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import operator
import threading
import time
import weakref
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modcore.flow import InvalidFlow, diverter, package, parallel, pipeline, warp
from modcore.flow import workers as workers_module

WAYS: list[Any] = [True, False, "thread", "async"]
functions = st.lists(
    st.sampled_from([lambda x: x + 1, lambda x: x * 2, lambda x: -x]), min_size=1, max_size=12
)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


@settings(deadline=None)
@given(functions, st.integers(), st.sampled_from(WAYS))
def test_results_are_in_the_order_of_the_branches(
    f: list[Callable[[int], int]], x: int, way: Any
) -> None:
    expected = [item(x) for item in f]
    assert parallel(*f, _concurrent=way)(x) == package(*expected)
    assert parallel(*f, _concurrent=way).aslist(x) == expected
    assert parallel(*f, _concurrent=way).sum(x) == sum(expected)
    assert parallel(*f, _concurrent=way).join("-")(x) == "-".join(map(str, expected))


@settings(deadline=None)
@given(st.lists(st.integers(), max_size=40), st.sampled_from(WAYS))
def test_warp_is_map(inputs: list[int], way: Any) -> None:
    expected = tuple(n * 2 for n in inputs)
    w = warp(lambda n: n * 2, _concurrent=way)
    assert w(inputs) == expected
    assert type(w(inputs)) is package
    assert w(*inputs) == expected


@settings(deadline=None)
@given(functions, st.sampled_from(WAYS))
def test_diverter_deals_its_inputs(f: list[Callable[[int], int]], way: Any) -> None:
    expected = package(*[item(n) for n, item in enumerate(f)])
    assert diverter(*f, _concurrent=way)(*range(len(f))) == expected


def test_next_item_gets_one_argument_for_each_branch(way: Any) -> None:
    flow = pipeline(parallel(lambda x: x, lambda x: (x, x), _concurrent=way), lambda a, b: [a, b])
    assert flow(1) == [1, (1, 1)]


def test_nested_parallel_is_one_argument() -> None:
    inner = parallel(lambda x: x, lambda x: -x)
    flow = pipeline(parallel(inner, abs), lambda pair, n: pair, lambda *args: args)
    assert flow(1) == ((1, -1),)


def test_results_by_name() -> None:
    assert parallel(a=abs, b=str).asdict(-1) == {"a": 1, "b": "-1"}
    with parallel().asdict as p:
        p.a = abs
        p.b = str
    assert p(-1) == {"a": 1, "b": "-1"}


def test_plain_tuple_is_one_value_for_the_next_item() -> None:
    made = parallel(abs, str).astuple(-1)
    assert type(made) is tuple and made == (1, "-1")
    assert pipeline(parallel(abs, str).astuple, len)(-1) == 2


def test_sum_adds_whatever_can_be_added() -> None:
    assert parallel(str, str).sum(1) == "11"
    assert parallel(lambda x: [x], lambda x: [x, x]).sum(1) == [1, 1, 1]
    assert parallel().sum(1) == 0
    assert parallel(abs, abs).sum(-2) == reduce(operator.add, [2, 2])


def test_every_branch_gets_all_arguments(way: Any) -> None:
    both = parallel(lambda a, b, k: a + b + k, lambda a, b, k: a - b, _concurrent=way)
    assert both(2, 1, k=3) == (6, 1)


def test_empty_parallel_makes_nothing(way: Any) -> None:
    assert parallel(_concurrent=way)(1) == package()


def test_form_is_decided_once() -> None:
    with pytest.raises(InvalidFlow, match=r"this one has .asdict, so .sum cannot"):
        parallel(a=abs).asdict.sum  # noqa: B018
    with pytest.raises(InvalidFlow, match="once"):
        parallel(a=abs).join(",").aslist  # noqa: B018
    with pytest.raises(InvalidFlow, match="text to put between"):
        parallel().join(3)  # type: ignore[arg-type]


def test_dict_of_branches_without_names_is_refused_before_any_runs() -> None:
    begun: list[object] = []
    p = parallel(begun.append).asdict
    p.a = begun.append
    with pytest.raises(InvalidFlow, match=r"branch 1 \('append'\) of this parallel has none"):
        p(1)
    assert begun == []


def test_a_form_that_is_mistyped_names_the_near_one() -> None:
    with pytest.raises(AttributeError, match=r"no item 'asdcit'.*did you mean \.asdict\?"):
        parallel(len).asdcit  # noqa: B018


@pytest.mark.parametrize("way", ["threads", None, 2, 1.0, []])
def test_unknown_way_to_run_is_refused(way: Any) -> None:
    with pytest.raises(InvalidFlow, match="'thread', 'process' or 'async'"):
        parallel(abs, _concurrent=way)


def test_diverter_takes_a_list_a_tuple_or_a_dict_by_name() -> None:
    d = diverter(a=abs, b=str)
    assert d([-1, 2]) == d((-1, 2)) == d({"b": 2, "a": -1}) == (1, "2")
    assert diverter(len)([1, 2]) == (2,)
    assert diverter(lambda x, y: x + y, abs)(package(1, 2), -3) == (3, 3)


def test_diverter_refuses_what_it_cannot_deal() -> None:
    with pytest.raises(InvalidFlow, match="each of its 2 branches; it got 3"):
        diverter(abs, abs)(1, 2, 3)
    with pytest.raises(InvalidFlow, match="one input for each branch: a, b; it got a, c"):
        diverter(a=abs, b=abs)({"a": 1, "c": 2})


def test_warp_takes_packages_and_keeps_other_values_whole() -> None:
    assert warp(lambda a, b: a + b)([package(1, 2), package(3, 4)]) == (3, 7)
    assert warp(len)((1, 2)) == (2,)
    assert warp(len)([(1, 2)], [3]) == (1, 1)
    assert warp(lambda x, k: x * k)(1, 2, k=3) == (3, 6)


def test_warp_takes_one_item_and_has_no_names() -> None:
    with pytest.raises(InvalidFlow, match="takes one item"):
        warp(abs, abs)
    with pytest.raises(InvalidFlow, match="no names"):
        warp(abs).asdict  # noqa: B018
    with pytest.raises(InvalidFlow, match="no item to apply"):
        warp()(1)
    with warp() as w:
        w.a = abs
        w.a = str
    assert w(-1) == ("-1",)


@pytest.mark.parametrize("width", [2, 3, 10, 60])
def test_every_branch_begins_while_the_others_wait(width: int) -> None:
    begun = threading.Barrier(width)
    for _ in range(20):
        parallel(*[lambda _: begun.wait(10)] * width)(1)
    asyncio.run(parallel(*[lambda _: begun.wait(10)] * width).acall(1))


def test_branches_that_end_before_a_thread_wakes_have_asked_for_two_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(workers_module.workers, "offer", lambda job: not asked.append(job))

    assert parallel(*[abs] * 100).sum(-1) == 100
    assert len(asked) == 2
    for wake in asked:  # too late: nothing is left to do, so nobody else is woken
        wake()
    assert len(asked) == 2


def test_sequential_branches_run_in_this_thread_in_order() -> None:
    seen: list[tuple[int, int]] = []

    def note(number: int) -> Callable[[object], None]:
        return lambda _: seen.append((number, threading.get_ident()))

    parallel.sequential(*map(note, range(5)))(0)
    assert seen == [(number, threading.get_ident()) for number in range(5)]


def test_context_variables_reach_every_branch_and_stay_there(way: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("v", default=0)

    def branch(x: int) -> int:
        found = variable.get()
        variable.set(x)
        return found

    variable.set(7)
    assert parallel(*[branch] * 12, _concurrent=way)(1) == (7,) * 12
    assert variable.get() == 7


def test_generators_travel_as_generators(way: Any) -> None:
    streams = parallel(range, lambda n: (i for i in range(n)), _concurrent=way)(3)
    assert [list(stream) for stream in streams] == [[0, 1, 2], [0, 1, 2]]


def nested(depth: int) -> Any:
    return abs if depth == 0 else parallel(*[nested(depth - 1) for _ in range(4)])


def test_nested_parallels_end_even_where_there_is_no_thread_to_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers_module, "MAX_THREADS", 2)
    monkeypatch.setattr(workers_module, "workers", workers_module.Workers())
    monkeypatch.setattr("modcore.flow.batch.workers", workers_module.workers)
    flat = str(nested(5)(-1)).replace("(", "").replace(")", "").replace(" ", "")
    assert flat.strip(",").split(",") == ["1"] * 4**5
    assert workers_module.workers._count <= 2


def test_threads_are_kept_for_the_next_call() -> None:
    names: set[int] = set()
    flow = parallel(*[lambda _: (time.sleep(0.001), names.add(threading.get_ident()))] * 4)
    for _ in range(25):
        flow(0)
    assert len(names) < 50


def test_idle_threads_hold_on_to_nothing() -> None:
    class Input:
        pass

    value = Input()
    freed = threading.Event()
    weakref.finalize(value, freed.set)
    parallel(*[lambda x: None] * 10)(value)
    del value
    for _ in range(100):
        gc.collect()  # what only a cycle holds is not held by a thread
        if freed.wait(0.1):
            break
    assert freed.is_set()


def test_idle_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "IDLE_SECONDS", 0.01)
    mine = workers_module.Workers()
    threads: list[threading.Thread] = []
    for _ in range(3):
        mine.start(lambda: threads.append(threading.current_thread()))
    while len(threads) < 3:
        time.sleep(0.001)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert mine._count == 0
