"""A pipeline is its functions one after the other, however they were put into it."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.flow import InvalidFlow, NotCallable, package, parallel, pipeline

Function = Callable[[int], int]
functions = st.lists(
    st.sampled_from([lambda x: x + 1, lambda x: x * 2, lambda x: -x, lambda x: x * x % 97]),
    max_size=5,
)


def by_hand(items: list[Function], value: int) -> int:
    for item in items:
        value = item(value)
    return value


@given(functions, functions, functions, st.integers())
def test_pipelines_are_associative(
    f: list[Function], g: list[Function], h: list[Function], x: int
) -> None:
    expected = by_hand([*f, *g, *h], x)
    assert pipeline(pipeline(*f, *g), *h)(x) == expected
    assert pipeline(*f, pipeline(*g, *h))(x) == expected
    assert (pipeline(*f) | pipeline(*g) | pipeline(*h))(x) == expected
    assert (pipeline(*f) | (pipeline(*g) | pipeline(*h)))(x) == expected


@given(functions, st.integers())
def test_items_may_come_as_arguments_a_list_or_assignments(f: list[Function], x: int) -> None:
    with pipeline() as p:
        for number, item in enumerate(f):
            setattr(p, f"item{number}", item)
    assert pipeline(*f)(x) == pipeline(list(f))(x) == p(x) == by_hand(f, x)


def test_with_block_names_items_and_nests() -> None:
    with pipeline() as p:
        p.add = lambda x: x + 1
        with parallel() as p.both:
            p.both.double = lambda x: x * 2
            p.both.negate = lambda x: -x
        p.sum = lambda a, b: a + b
    assert p(3) == 4
    assert p.add(1) == 2
    assert p.both.negate(1) == -1


def test_assignment_outside_a_with_block_adds_too() -> None:
    p = pipeline(lambda x: x + 1)
    p.double = lambda x: x * 2
    assert p(1) == 4


def test_assigning_an_existing_name_replaces_the_item_in_its_place() -> None:
    p = pipeline(a=lambda x: x + 1, b=lambda x: x * 10)
    p.a = lambda x: x + 2
    assert p(1) == 30


def test_locals_of_the_block_stay_as_they_are() -> None:
    a = "mine"
    with pipeline() as p:
        p.a = str
    assert a == "mine"
    assert p.a is str


def test_no_frame_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("somebody's frame was read")

    for name in ("stack", "currentframe"):
        monkeypatch.setattr(inspect, name, refused)
    monkeypatch.setattr(sys, "_getframe", refused)
    with pipeline() as p:
        p.a = abs
        p.b = parallel(abs, abs)
    assert p.a(-1) == 1


def test_empty_pipeline_hands_on_what_it_gets() -> None:
    assert pipeline()(1) == 1
    assert pipeline()(1, 2) == package(1, 2)


def test_first_item_takes_all_arguments_and_keywords() -> None:
    assert pipeline(lambda a, b=0, *, c: (a, b, c), list)(1, 2, c=3) == [1, 2, 3]
    assert pipeline(lambda: 7)() == 7


def test_keywords_without_an_item_to_take_them_are_refused() -> None:
    with pytest.raises(TypeError, match="pipeline has no items to take x"):
        pipeline()(x=1)


def test_package_is_several_arguments_and_a_tuple_is_one() -> None:
    assert pipeline(lambda: package(1, 2), lambda a, b: a + b)() == 3
    assert pipeline(lambda: (1, 2), lambda pair: pair[0] + pair[1])() == 3
    assert pipeline(lambda: package(), lambda: "nothing")() == "nothing"


def test_package_of_one_flow_is_the_arguments_of_another() -> None:
    assert pipeline(lambda a, b: a - b)(parallel(lambda x: x, lambda x: x + 1)(5)) == -1


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_package_and_flow_survive_copying(twin: Callable[[Any], Any]) -> None:
    pack = twin(package(1, (2,)))
    assert type(pack) is package and pack == (1, (2,))
    p = twin(pipeline(abs, n=str))
    assert p(-1) == "1"
    assert p.n is str


def test_generator_travels_unconsumed() -> None:
    begun: list[str] = []

    def generate(n: int) -> Any:
        begun.append("begun")
        yield from range(n)

    stream = pipeline(generate, lambda g: g)(3)
    assert not begun
    assert list(stream) == [0, 1, 2]


def test_post_action_sees_the_result_and_changes_nothing() -> None:
    seen: list[object] = []
    assert pipeline(abs, post_action=seen.append)(-1) == 1
    assert pipeline(post_action=lambda a, b: seen.append(a + b))(1, 2) == (1, 2)
    assert seen == [1, 3]


def test_bar_puts_callables_together_and_leaves_its_sides_alone() -> None:
    p = pipeline(abs)
    assert (p | str)(-1) == "1"
    assert (abs | p)(-1) == 1
    q = p | str
    r = q | len
    assert len(q._functions) == 2
    assert (q(-10), r(-10)) == ("10", 2)
    assert (parallel(abs, str) | package)(-1) == (1, "-1")


def test_bar_keeps_a_pipeline_with_names_whole() -> None:
    assert len((pipeline(a=abs) | str)._functions) == 2


@pytest.mark.parametrize("thing", [1, None, "text", {}])
def test_what_cannot_be_called_is_refused_at_once(thing: object) -> None:
    p = pipeline()
    with pytest.raises(NotCallable, match="an item of pipeline must be callable"):
        pipeline(abs, thing)
    with pytest.raises(NotCallable):
        p.a = thing
    with pytest.raises(NotCallable):
        pipeline(a=thing)
    with pytest.raises(TypeError, match="not callable"):
        p | thing
    with pytest.raises(NotCallable, match="post_action of pipeline"):
        pipeline(post_action=[])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["input", "output", "kwargs", "acall", "for_each", "post_action"])
def test_name_with_a_meaning_is_refused(name: str) -> None:
    with pytest.raises(InvalidFlow, match=f"item named '{name}'"):
        setattr(pipeline(), name, abs)


def test_unknown_item_is_an_attribute_error_with_a_near_miss() -> None:
    with pytest.raises(
        AttributeError, match=r"no item 'prase' \(it has: parse\); did you mean 'parse'"
    ):
        _ = pipeline(parse=abs).prase
    assert not hasattr(pipeline(), "nothing")


def test_flow_in_itself_is_refused() -> None:
    outer, inner = pipeline(abs), pipeline()
    outer.inner = inner
    with pytest.raises(InvalidFlow, match="cannot contain itself"):
        inner.outer = outer
    with pytest.raises(InvalidFlow, match="cannot contain itself"):
        outer.me = outer
