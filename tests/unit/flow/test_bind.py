"""bind fills in the arguments of an item: what arrives, and what the pipeline lends."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from modcore.flow import (
    InvalidFlow,
    NotCallable,
    NotRunning,
    _0,
    _1,
    _3,
    bind,
    loop,
    package,
    parallel,
    pipeline,
    warp,
)


def shown(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return (*args, *sorted(kwargs.items()))


def test_placeholders_are_the_arguments_that_arrive() -> None:
    assert bind(shown, _1, "c", _0)(1, 2) == (2, "c", 1)
    assert (shown | bind(_0, k=_1))(1, 2) == (1, ("k", 2))


def test_without_placeholder_a_bound_positional_drops_what_arrives() -> None:
    assert bind(shown, "c")(1) == ("c",)
    assert bind(shown, k=_0)(1) == (("k", 1),)


def test_with_nothing_or_only_keywords_bound_what_arrives_stays() -> None:
    assert bind(shown)(1, 2) == (1, 2)
    assert bind(shown, k="c")(1) == (1, ("k", "c"))


def test_pipeline_lends_input_keywords_and_outputs() -> None:
    with pipeline() as p:
        p.a = lambda x, unit: x * 2
        p.b = lambda x: x + 1
        p.c = shown | bind(_0, p.input, k=p.output("a"), unit=p.kwargs["unit"], own=p.output(p.b))
    assert p(5, unit="m") == (11, 5, ("k", 10), ("own", 11), ("unit", "m"))


def test_parts_of_a_value_are_new_references() -> None:
    with pipeline() as p:
        p.a = lambda: {"k": SimpleNamespace(n=[1, 2]), "j": 3}
        out = p.output("a")
        first, second, whole = out["k"].n[0], out["k"].n[1], out
        p.b = shown | bind(first, second, first, out["j"], whole["j"])
    assert p() == (1, 2, 1, 3, 3)
    assert repr(first) == "pipeline.output('a')['k'].n[0]"


def test_several_inputs_are_a_tuple_that_stays_one_value() -> None:
    with pipeline() as p:
        p.a = shown
        p.b = bind(lambda pair: pair, p.input)
        p.c = lambda *args: args
    assert p(1, 2) == ((1, 2),)


def test_inner_pipeline_may_bind_what_the_outer_one_lends() -> None:
    with pipeline() as outer:
        outer.a = lambda x: x + 1
        with parallel() as outer.both:
            outer.both.x = bind(shown, _0, outer.input)
            with pipeline() as outer.both.y:
                outer.both.y.a = lambda x: x * 10
                outer.both.y.b = bind(shown, _0, outer.input, outer.output("a"), outer.both.y.input)
    assert outer(1) == ((2, 1), (20, 1, 2, 2))


def test_loop_lends_the_output_of_its_latest_round() -> None:
    with loop(count=3) as turn:
        turn.a = lambda x: x + 1
        turn.b = bind(shown, turn.output("a"), turn.input)
        turn.c = lambda pair: pair[0]
    assert turn(0) == 3


def test_recursive_calls_each_see_their_own_input() -> None:
    p = pipeline()
    p.down = lambda n: n if n == 0 else p(n - 1)
    p.up = bind(lambda below, n: [n, *(below or [])], _0, p.input)
    assert p(3) == [3, 2, 1, 0]


def test_calls_in_many_threads_do_not_mix() -> None:
    with pipeline() as p:
        p.a = lambda x: x + 1
        p.b = warp(bind(lambda one, x, a: (one, x, a), _0, p.input, p.output("a")))
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(p, range(200))) == [((x + 1, x, x + 1),) for x in range(200)]


def test_bound_package_is_a_plain_tuple() -> None:
    with pipeline() as p:
        p.a = parallel(lambda x: x, lambda x: -x)
        p.b = bind(lambda both: both, p.output("a"))
        p.c = lambda *args: args
    assert p(1) == ((1, -1),)


def test_bar_with_a_bound_function_makes_a_pipeline() -> None:
    assert (bind(shown, _0, 2) | (lambda t: sum(t)))(1) == 3
    assert (abs | bind(shown, 0, _0))(-1) == (0, 1)


def test_flow_can_be_bound() -> None:
    with pipeline() as p:
        p.a = lambda x: x + 1
        p.b = pipeline(lambda a, b: a - b) | bind(_0, p.input)
    assert p(5) == 1


def test_deep_copy_binds_to_the_copy() -> None:
    with pipeline() as p:
        p.a = abs
        p.b = bind(shown, _0, p.input)
    twin = copy.deepcopy(p)
    twin.a = str
    assert (p(-1), twin(-1)) == ((1, -1), ("-1", -1))


def test_reference_outside_its_call_says_so() -> None:
    p = pipeline(a=abs)
    with pytest.raises(NotRunning, match=r"pipeline\.input is asked for outside a call"):
        bind(shown, p.input)()


def test_output_that_is_not_made_yet_says_so() -> None:
    p = pipeline(a=abs, b=abs)
    p.a = bind(shown, p.output("b"))
    with pytest.raises(NotRunning, match=r"pipeline.output\('b'\) is asked for before"):
        p(1)


def test_unknown_output_is_refused_at_once() -> None:
    p = pipeline(parse=abs)
    with pytest.raises(InvalidFlow, match=r"no item 'prase' .*did you mean 'parse'"):
        p.output("prase")
    with pytest.raises(InvalidFlow, match="is no item of this pipeline"):
        p.output(len)


def test_placeholder_beyond_the_arguments_says_how_many_arrive() -> None:
    with pytest.raises(InvalidFlow, match=r"_3 is bound, but 1 argument\(s\) arrive"):
        bind(shown, _3)(1)


def test_keyword_that_is_bound_and_given_is_refused() -> None:
    with pytest.raises(TypeError, match="called with k, which is bound already"):
        bind(shown, k=1)(k=2)


def test_bind_without_a_function_is_no_item() -> None:
    with pytest.raises(NotCallable, match=r"has no function: write function \| bind\(_0\)"):
        pipeline(abs, bind(_0))
    with pytest.raises(InvalidFlow, match="has no function to call"):
        bind(_0)(1)
    with pytest.raises(InvalidFlow, match="must be callable"):
        3 | bind(_0)


def test_reference_has_no_truth_and_nothing_to_go_through_before_the_call() -> None:
    p = pipeline(a=abs)
    with pytest.raises(InvalidFlow, match="has no value before the call"):
        bool(p.input)
    with pytest.raises(TypeError):
        list(p.input)
    with pytest.raises(AttributeError):
        _ = p.input._private


def test_package_arrives_as_several_arguments() -> None:
    assert pipeline(lambda: package(1, 2), bind(shown, _1, _0))() == (2, 1)
