"""Parameters are checked by name, and absurd ones quickly."""

from __future__ import annotations

import copy
import json
import math
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest

from modcore.engine import SamplingParams
from modcore.errors import InvalidRequest


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -3),
        ("max_tokens", 2.5),
        ("max_tokens", True),
        ("min_tokens", -1),
        ("min_tokens", 17),  # more than max_tokens
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("top_k", -2),
        ("top_k", 1.5),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("typical_p", 0),
        ("typical_p", 2),
        ("repetition_penalty", 0),
        ("repetition_penalty", -1),
        ("repetition_penalty", math.nan),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("logit_bias", [1]),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {-1: 1}),
        ("logit_bias", {True: 1}),
        ("logit_bias", {1: 101}),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", {1: None}),
        ("seed", 2**63),
        ("seed", "lucky"),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", 5),
        ("stop", ["a", 5]),
        ("stop", ["a"] * 65),
        ("stop", "a" * 257),
        ("stop_token_ids", 3),
        ("stop_token_ids", ["a"]),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", [True]),
        ("ignore_eos", 1),
        ("n", 0),
        ("n", True),
        ("best_of", 0),
        ("logprobs", -1),
        ("logprobs", 21),
        ("logprobs", True),
        ("prompt_logprobs", 21),
        ("json_schema", 5),
        ("json_schema", "{"),
        ("json_schema", "[]"),
        ("json_schema", {"enum": [math.nan]}),
        ("json_schema", {"enum": [object()]}),
        ("json_schema", deep(70)),
        ("regex", ""),
        ("regex", 5),
        ("prefix_cache", None),
    ],
)
def test_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name
    assert str(caught.value).startswith(name)


ABSURD: list[tuple[str, Callable[[], Any]]] = [
    ("stop", lambda: ["x"] * 10**5),
    ("stop", lambda: "x" * 10**7),
    ("stop", lambda: ["x" * 10**7]),
    ("stop_token_ids", lambda: [1] * 10**6),
    ("n", lambda: 10**9),
    ("n", lambda: 1 << 10**6),
    ("best_of", lambda: 10**9),
    ("max_tokens", lambda: 10**12),
    ("max_tokens", lambda: "9" * 10**7),
    ("logit_bias", lambda: dict.fromkeys(range(10**6), 1.0)),
    ("logit_bias", lambda: {"7" * 10**6: 1.0}),
    ("logit_bias", lambda: {1 << 10**6: 1.0}),
    ("regex", lambda: "a" * 10**7),
    ("json_schema", lambda: '{"a":' * 10**6),
    ("json_schema", lambda: "[" * 60_000),
    ("json_schema", lambda: {"enum": list(range(10**6))}),
    ("json_schema", lambda: {"enum": ["x" * 10**7]}),
    ("json_schema", lambda: {str(i): {} for i in range(10**6)}),
    ("json_schema", lambda: {"x" * 10**7: {}}),
    ("json_schema", lambda: {"enum": [["x"] * 1000] * 10**5}),
    ("json_schema", lambda: {"enum": [1 << 10**6]}),
    ("json_schema", lambda: deep(900)),
    ("temperature", lambda: [1.0] * 10**6),
]


@pytest.mark.parametrize(("name", "make"), ABSURD)
def test_absurd_value_is_refused_at_once_and_not_repeated(
    name: str, make: Callable[[], Any]
) -> None:
    value = make()
    start = time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        SamplingParams(**{name: value})
    assert time.thread_time() - start < 0.05
    assert caught.value.param == name
    assert len(str(caught.value)) < 300


def test_contradicting_parameters_are_refused() -> None:
    for options, name in (
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"regex": "a", "json_schema": {}}, "regex"),
        ({"max_tokens": 2, "min_tokens": 3}, "min_tokens"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            SamplingParams(**options)  # type: ignore[arg-type]
        assert caught.value.param == name


def test_several_greedy_answers_are_allowed() -> None:
    assert SamplingParams(n=2, temperature=0.0).choices == 2
    assert SamplingParams(n=2, best_of=5).choices == 5


def test_values_are_kept_in_one_form() -> None:
    params = SamplingParams(
        stop="x",
        stop_token_ids=[3, 4],
        logit_bias={"5": 1, 6: -2.5},
        json_schema={"type": "object"},
    )
    assert params.stop == ("x",)
    assert params.stop_token_ids == (3, 4)
    assert params.logit_bias == {5: 1.0, 6: -2.5}
    assert json.loads(str(params.json_schema)) == {"type": "object"}
    assert SamplingParams(json_schema='{"b": 1, "a": 2}').json_schema == '{"b": 1, "a": 2}'


def test_parameters_can_be_compared_hashed_copied_and_pickled() -> None:
    params = SamplingParams(logit_bias={1: 2.0}, json_schema={"type": "object"}, stop=["a"])
    assert len({params, copy.deepcopy(params), pickle.loads(pickle.dumps(params))}) == 1
