"""switch, ifs and loop choose as they are told, and never silently nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.flow import InvalidFlow, NoMatch, NotCallable, _0, ifs, loop, package, parallel, switch


def name(text: str) -> object:
    return lambda *args: (text, *args)


def test_first_case_whose_condition_is_true_is_taken() -> None:
    s = switch(
        {lambda x: x % 2: name("odd"), lambda x: x > 5: name("big"), "default": name("rest")}
    )
    assert [s(7), s(8), s(2)] == [("odd", 7), ("big", 8), ("rest", 2)]


def test_condition_that_is_no_callable_is_compared() -> None:
    s = switch("a", name("A"), (1, 2), name("pair"), None, name("none"))
    assert [s("a"), s(1, 2), s((1, 2)), s(None)] == [
        ("A", "a"),
        ("pair", 1, 2),
        ("pair", (1, 2)),
        ("none", None),
    ]


def test_cases_are_added_in_a_with_block() -> None:
    with switch() as s:
        s.case[str.isdigit, int]
        s.case["x" :: name("x")]
        s.case("default", name("rest"))
    assert [s("12"), s("x"), s("y")] == [12, ("x", "x"), ("rest", "y")]


def test_default_is_for_what_no_other_case_is_for_wherever_it_stands() -> None:
    assert switch({"default": name("rest"), 1: name("one")})(1) == ("one", 1)


def test_first_argument_decides_and_the_others_go_on() -> None:
    s = switch({"double": lambda x: x * 2, "add": lambda x, y: x + y}, judge_on_full_input=False)
    assert s("double", 4) == 8
    assert s("add", 4, 5) == 9
    with pytest.raises(InvalidFlow, match="needs another for its items; it got 1"):
        s("double")


def test_conversion_applies_to_what_decides_alone() -> None:
    assert switch({3: name("three")}, conversion=len)("abc") == ("three", "abc")


def test_keywords_go_to_the_chosen_item() -> None:
    assert switch(callable, lambda x, k: k, "default", lambda x, k: -k)(1, k=2) == -2


def test_no_match_names_the_value_and_the_cases() -> None:
    with pytest.raises(
        NoMatch, match=r"no case of this switch is for 3 \(its cases: 'a', 'callable'\)"
    ):
        switch({"a": abs, callable: abs})(3)
    with pytest.raises(LookupError):
        switch()(1)


@pytest.mark.parametrize("cases", [(1,), (1, abs, 2), ([1, 2, 3],)])
def test_case_without_its_partner_is_refused(cases: tuple[object, ...]) -> None:
    with pytest.raises(InvalidFlow, match="leave one without its partner"):
        switch(*cases)


def test_switch_refuses_what_could_never_be_chosen() -> None:
    with pytest.raises(NotCallable):
        switch({1: 2})
    with pytest.raises(InvalidFlow, match="default case already"):
        switch("default", abs, "default", abs)
    with pytest.raises(InvalidFlow, match="takes cases, not items"):
        switch().a = abs
    with pytest.raises(InvalidFlow, match=r"a case is case\[condition, function\]"):
        switch().case[abs]
    with pytest.raises(InvalidFlow, match="cannot be a condition"):
        switch(_0, abs)


@given(st.integers())
def test_ifs_takes_one_of_two(x: int) -> None:
    assert ifs(lambda n: n % 3, name("yes"), name("no"))(x) == ("yes" if x % 3 else "no", x)


def test_ifs_takes_a_bool_and_several_arguments() -> None:
    assert ifs(True, name("yes"), name("no"))(1) == ("yes", 1)
    assert ifs(lambda a, b: a < b, name("up"), name("down"))(2, 1) == ("down", 2, 1)


def test_ifs_refuses_what_cannot_decide_and_more_items() -> None:
    with pytest.raises(NotCallable, match="the condition of ifs"):
        ifs("yes", abs, abs)
    with pytest.raises(InvalidFlow, match="takes its condition and its two items"):
        ifs(True, abs, abs).more = abs
    with pytest.raises(TypeError):
        ifs(True, abs)  # type: ignore[call-arg]


@given(st.integers(0, 30), st.integers())
def test_loop_goes_round_count_times(count: int, x: int) -> None:
    assert loop(lambda n: n + 1, lambda n: n + 2, count=count)(x) == x + 3 * count


@given(st.integers(0, 20), st.integers(-5, 40))
def test_loop_ends_by_count_or_condition_whichever_is_first(count: int, limit: int) -> None:
    made = loop(lambda n: n + 1, count=count, stop_condition=lambda n: n >= limit)(0)
    assert made == min(count, max(limit, 1))


def test_loop_judges_the_first_of_several_and_hands_on_the_others() -> None:
    body = parallel(lambda n: n >= 3, lambda n: n + 1)
    assert loop(body, stop_condition=lambda done: done)(0) == 4


def test_loop_judges_all_values_if_told_so() -> None:
    def body(a: int, b: int) -> package:
        return package(a + 1, b * 2)

    made = loop(body, stop_condition=lambda a, b: a + b > 10, judge_on_full_input=True)(0, 1)
    assert made == package(3, 8)


def test_loop_of_several_values_without_condition_keeps_them() -> None:
    assert loop(lambda a, b: package(b, a + b), count=5)(0, 1) == (5, 8)


@pytest.mark.parametrize("count", [-1, 1.5, "3", True])
def test_loop_refuses_a_count_that_is_none(count: object) -> None:
    with pytest.raises(InvalidFlow, match="count must be a number of rounds"):
        loop(abs, count=count)  # type: ignore[arg-type]


def test_loop_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidFlow, match="it would never end"):
        loop(abs)


def test_loop_without_items_and_a_stop_condition_that_is_none_are_refused() -> None:
    with pytest.raises(InvalidFlow, match="no items"):
        loop(stop_condition=bool)(1)
    with pytest.raises(NotCallable, match="stop_condition of loop"):
        loop(abs, stop_condition=3)  # type: ignore[arg-type]
