"""Answers that follow a schema or an expression, from a model that knows nothing of either."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import torch

from checkpoints import train_tokenizer
from grammars import EXPLOSIVE, EXPLOSIVE_REGEX, HONEST, UNSATISFIABLE
from modcore.engine import SamplingParams
from modcore.engine.sampling import GrammarCompiler, SamplingState, sample
from modcore.engine.sampling.grammar_tokenizer import in_a_line
from modcore.errors import InvalidRequest, StepFailed

VOCAB = 448  # padded: the tokenizer has fewer
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


@pytest.fixture(scope="module")
def compiler(tokenizer: Any) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, VOCAB, {tokenizer.eos_token_id})


def states(
    compiler: GrammarCompiler, tokenizer: Any, count: int, **params: Any
) -> list[SamplingState]:
    asked = SamplingParams(**params)
    eos = {tokenizer.eos_token_id}
    return [
        SamplingState(asked, [5, 6], VOCAB, eos, compiler.compile(asked), index)
        for index in range(count)
    ]


def answers(sequences: list[SamplingState], tokenizer: Any, most: int = 400) -> list[str]:
    """What each writes from random logits, all in one batch, until it ends."""
    generator = torch.Generator().manual_seed(1)
    written: dict[SamplingState, list[int]] = {each: [] for each in sequences}
    running = list(sequences)
    for _ in range(most):
        if not running:
            break
        logits = 3 * torch.randn(len(running), VOCAB, generator=generator)
        sampled = sample(logits, running)
        assert sampled.errors == [None] * len(running)
        goes_on = []
        for each, token in zip(running, sampled.tokens, strict=True):
            ends = each.ends(token)
            each.accept(token)
            if not ends:
                written[each].append(token)
            if not ends and not each.is_complete:
                goes_on.append(each)
        running = goes_on
    assert not running
    return [tokenizer.decode(tokens) for tokens in written.values()]


def test_schema_is_followed_by_every_answer(compiler: GrammarCompiler, tokenizer: Any) -> None:
    texts = answers(states(compiler, tokenizer, 40, json_schema=SCHEMA, seed=3), tokenizer)
    assert len(set(texts)) > 20
    for text in texts:
        value = json.loads(text)
        assert set(value) == {"name", "age", "tags"}
        assert isinstance(value["name"], str)
        assert len(value["name"]) <= 8
        assert type(value["age"]) is int
        assert 0 <= value["age"] <= 150
        assert set(value["tags"]) <= {"a", "b"}
        assert len(value["tags"]) <= 3


@pytest.mark.parametrize(
    "regex", [r"[a-f]{3}-[0-9]{2,4}", r"(yes|no)( indeed){0,2}[.!]", r"[a-zß東]{1,9}é?"]
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_regex_is_followed_by_every_answer(
    compiler: GrammarCompiler, tokenizer: Any, regex: str, temperature: float
) -> None:
    sequences = states(compiler, tokenizer, 20, regex=regex, seed=4, temperature=temperature)
    for text in answers(sequences, tokenizer):
        assert re.fullmatch(regex, text), text


def test_end_is_allowed_only_where_the_grammar_accepts(
    compiler: GrammarCompiler, tokenizer: Any
) -> None:
    [state] = states(compiler, tokenizer, 1, regex="ab*", temperature=0.0)
    logits = torch.zeros(1, VOCAB)
    logits[0, tokenizer.eos_token_id] = 50.0
    [first] = sample(logits, [state]).tokens
    assert tokenizer.decode([first]) == "a"
    state.accept(first)
    assert sample(logits, [state]).tokens == [tokenizer.eos_token_id]


def test_grammar_at_its_end_wins_over_min_tokens_and_ignore_eos(
    compiler: GrammarCompiler, tokenizer: Any
) -> None:
    [state] = states(compiler, tokenizer, 1, regex="a", min_tokens=5, ignore_eos=True)
    [token] = sample(torch.zeros(1, VOCAB), [state]).tokens
    state.accept(token)
    assert state.is_complete
    assert sample(torch.zeros(1, VOCAB), [state]).tokens == [tokenizer.eos_token_id]
    assert state.ends(tokenizer.eos_token_id)


def test_padding_behind_the_tokenizer_is_never_chosen(
    compiler: GrammarCompiler, tokenizer: Any
) -> None:
    [state] = states(compiler, tokenizer, 1, regex=".{5}", temperature=0.0)
    logits = torch.zeros(1, VOCAB)
    logits[0, len(tokenizer) :] = 50.0
    assert sample(logits, [state]).tokens[0] < len(tokenizer)


@pytest.mark.parametrize("vocab", [350, 399, 1000])
@pytest.mark.parametrize("ends", [frozenset(), frozenset({1, 3})])
def test_model_may_be_wider_or_narrower_than_the_tokenizer_and_have_no_end(
    tokenizer: Any, vocab: int, ends: frozenset[int]
) -> None:
    compiler = GrammarCompiler(tokenizer, vocab, ends)
    params = SamplingParams(regex="a{3}", temperature=0.0)
    state = SamplingState(params, [1], vocab, ends, compiler.compile(params))
    text = ""
    while not state.is_complete:
        sampled = sample(torch.zeros(1, vocab), [state])
        assert sampled.errors == [None]
        state.accept(sampled.tokens[0])
        text += tokenizer.decode(sampled.tokens)
    assert text == "aaa"


def test_constrained_and_free_rows_share_a_batch(compiler: GrammarCompiler, tokenizer: Any) -> None:
    free = SamplingState(SamplingParams(temperature=0.0), [1], VOCAB)
    [bound] = states(compiler, tokenizer, 1, regex="b", temperature=0.0)
    logits = torch.randn(2, VOCAB, generator=torch.Generator().manual_seed(0))
    tokens = sample(logits, [free, bound]).tokens
    assert tokens[0] == int(logits[0].argmax())
    assert tokenizer.decode(tokens[1:]) == "b"


def test_choices_and_copies_follow_the_grammar_each_for_itself(compiler: GrammarCompiler) -> None:
    params = SamplingParams(regex="[ab]{2}")
    one, two = compiler.compile(params), compiler.compile(params)
    assert one is not None
    assert two is not None
    one.accept(_token("a"))
    half = one.copy()
    one.accept(_token("b"))
    assert one.is_complete
    assert not half.is_complete
    assert not two.is_complete


def _token(text: str) -> int:
    return int(train_tokenizer().convert_tokens_to_ids(text))


def test_token_that_the_grammar_forbids_is_an_error(compiler: GrammarCompiler) -> None:
    constraint = compiler.compile(SamplingParams(regex="a"))
    assert constraint is not None
    with pytest.raises(StepFailed):
        constraint.accept(_token("b"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("regex", "[ab"),
        ("regex", "(?<=a)b"),
        ("regex", r"(a)\1"),
        ("regex", "(" * 2000 + "a" + ")" * 2000),
        ("json_schema", {"type": "banana"}),
        ("json_schema", {"$ref": "http://example.com/schema.json"}),
        ("json_schema", {"$ref": "#/nowhere"}),
        ("json_schema", {"type": "string", "pattern": "["}),
        ("json_schema", {"type": "string", "pattern": "^((a|b)*a(a|b){25})$", "maxLength": 24}),
        ("json_schema", {"type": "integer", "minimum": 5, "maximum": 4}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_compile_is_refused_at_once(
    compiler: GrammarCompiler, name: str, value: Any
) -> None:
    params = SamplingParams(**{name: value})
    start = time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        compiler.compile(params)
    assert time.thread_time() - start < 0.05
    assert caught.value.param == name
    assert len(str(caught.value)) < 350


@pytest.mark.parametrize("schema", UNSATISFIABLE.values(), ids=UNSATISFIABLE)
def test_schema_that_nothing_follows_is_refused(compiler: GrammarCompiler, schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="cannot be compiled") as caught:
        compiler.compile(SamplingParams(json_schema=schema))
    assert caught.value.param == "json_schema"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("json_schema", schema) for schema in EXPLOSIVE.values()),
        *(("regex", regex) for regex in EXPLOSIVE_REGEX.values()),
    ],
    ids=[*EXPLOSIVE, *EXPLOSIVE_REGEX],
)
def test_what_explodes_is_refused_and_says_what_to_do(
    compiler: GrammarCompiler, name: str, value: Any
) -> None:
    with pytest.raises(InvalidRequest, match=r"28 ms of processor time.* leave some out") as caught:
        compiler.compile(SamplingParams(**{name: value}))
    assert caught.value.param == name
    assert len(str(caught.value)) < 350


@pytest.mark.parametrize("schema", HONEST.values(), ids=HONEST)
def test_honest_schema_compiles(compiler: GrammarCompiler, schema: Any) -> None:
    assert compiler.compile(SamplingParams(json_schema=schema)) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [("regex", "(a|b)*a(a|b){900}"), ("regex", "((a?){200}a{200}|.*){50}b")],
    ids=str,
)
def test_what_grows_as_it_is_followed_does_not_hold_up_the_first_step(
    compiler: GrammarCompiler, tokenizer: Any, name: str, value: Any
) -> None:
    [state] = states(compiler, tokenizer, 1, **{name: value})
    start = time.thread_time()
    assert sample(torch.zeros(1, VOCAB), [state]).errors == [None]
    assert time.thread_time() - start < 0.5


def test_only_tokens_that_the_model_has_can_come_first(tokenizer: Any) -> None:
    width = _token("b") + 1  # the bytes of "é" come behind those of ASCII
    compiler = GrammarCompiler(tokenizer, width, {tokenizer.eos_token_id})
    with pytest.raises(InvalidRequest, match="no answer can begin"):
        compiler.compile(SamplingParams(regex="[éö]+"))


def test_dead_end_that_is_met_later_is_a_named_error(tokenizer: Any) -> None:
    width = _token("b") + 1
    compiler = GrammarCompiler(tokenizer, width, {tokenizer.eos_token_id})
    params = SamplingParams(regex="[ab][éö]+")
    state = SamplingState(params, [1], width, (), compiler.compile(params))
    state.accept(_token("a"))
    [error] = sample(torch.zeros(1, width), [state]).errors
    assert "No token is left" in str(error)


def test_suspicious_schema_that_compiles_is_served(
    compiler: GrammarCompiler, tokenizer: Any
) -> None:
    schema = {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 1000}
    for text in answers(states(compiler, tokenizer, 5, json_schema=schema, seed=1), tokenizer):
        assert json.loads(text) % 5 == 0


def test_compiled_grammars_are_kept_and_the_least_used_is_dropped(tokenizer: Any) -> None:
    compiler = GrammarCompiler(tokenizer, VOCAB, {1})
    for number in range(70):
        compiler.compile(SamplingParams(regex=f"a{number}"))
        compiler.compile(SamplingParams(regex="b"))
    kept = [text for _, text in compiler._compiled]
    assert len(kept) == 64
    assert "b" in kept
    assert "a0" not in kept


def test_message_has_none_of_what_a_library_says_to_its_authors() -> None:
    said = "panic: no value\n<backtrace>\n 0: <unknown>"
    assert in_a_line(said) == "panic: no value"
    assert in_a_line("too many states: 9 >= 9 <non-verbose/>.") == "too many states: 9 >= 9"
