"""Every field that shapes an answer, through the official openai client, sync and async."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest

from modcore.engine import Engine, SamplingParams
from servers import ServerProcess

MODEL = "tiny-llama"
CHAT: list[Any] = [{"role": "user", "content": "how many?"}]
SCHEMA = {
    "type": "object",
    "properties": {"llamas": {"type": "integer"}, "wild": {"type": "boolean"}},
    "required": ["llamas", "wild"],
    "additionalProperties": False,
}
FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "herd", "strict": True, "schema": SCHEMA},
}


@pytest.fixture(scope="module")
def engine(text_checkpoint: Path) -> Engine:
    return Engine.from_pretrained(text_checkpoint, dtype="float32")


def complete(client: openai.OpenAI, **options: Any) -> Any:
    options = {"prompt": "the quick", "max_tokens": 12, "seed": 3, **options}
    return client.completions.create(model=MODEL, **options)


def chat(client: openai.OpenAI, **options: Any) -> Any:
    options = {"messages": CHAT, "max_tokens": 12, "seed": 3, **options}
    return client.chat.completions.create(model=MODEL, **options)


# n and best_of


def test_choices_are_the_engine_s_and_differ(client: openai.OpenAI, engine: Engine) -> None:
    expected = engine.generate("the quick", SamplingParams(max_tokens=12, seed=3, n=3))[0]
    answer = complete(client, n=3)
    assert [choice.text for choice in answer.choices] == [c.text for c in expected.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.text for choice in answer.choices}) == 3
    assert answer.usage.completion_tokens == expected.usage.completion_tokens
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens
    assert {choice.message.content for choice in chat(client, n=3).choices} == {
        choice.message.content for choice in chat(client, n=3).choices
    }


def test_choices_of_several_prompts_are_numbered_through(client: openai.OpenAI) -> None:
    prompts = ["the quick", "def"]
    whole = complete(client, prompt=prompts, n=2)
    alone = [
        choice.text for each in prompts for choice in complete(client, prompt=each, n=2).choices
    ]
    assert [choice.text for choice in whole.choices] == alone
    texts = dict.fromkeys(range(4), "")
    for chunk in complete(client, prompt=prompts, n=2, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert list(texts.values()) == alone


def test_streamed_choices_interleave_and_each_ends_once(client: openai.OpenAI) -> None:
    whole = chat(client, n=3, max_tokens=30)
    chunks = list(
        chat(client, n=3, max_tokens=30, stream=True, stream_options={"include_usage": True})
    )
    texts: Counter[int] = Counter()
    content = dict.fromkeys(range(3), "")
    order: list[int] = []
    for chunk in chunks:
        for choice in chunk.choices:
            content[choice.index] += choice.delta.content or ""
            texts[choice.index] += choice.finish_reason is not None
            order.append(choice.index)
    assert list(content.values()) == [choice.message.content for choice in whole.choices]
    assert texts == {0: 1, 1: 1, 2: 1}
    assert order != sorted(order)
    assert chunks[-1].choices == []
    used, same = chunks[-1].usage, whole.usage
    assert (used.prompt_tokens, used.completion_tokens) == (
        same.prompt_tokens,
        same.completion_tokens,
    )
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_best_of_is_the_likeliest_and_is_paid_for(client: openai.OpenAI, engine: Engine) -> None:
    params = SamplingParams(max_tokens=12, seed=3, n=2, best_of=4)
    expected = engine.generate("the quick", params)[0]
    answer = complete(client, n=2, best_of=4)
    assert [choice.text for choice in answer.choices] == [c.text for c in expected.choices]
    assert answer.usage.completion_tokens == expected.usage.completion_tokens > 24
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, best_of=4, stream=True)
    assert caught.value.param == "best_of"


def test_more_answers_than_are_served_at_once_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, prompt=["a"] * 250, n=100)
    assert caught.value.param == "n"


# Log probabilities


def test_chat_logprobs_are_openai_s(client: openai.OpenAI, engine: Engine) -> None:
    answer = chat(client, logprobs=True, top_logprobs=3, temperature=0).choices[0]
    records = answer.logprobs.content
    params = SamplingParams(max_tokens=12, temperature=0.0, logprobs=3)
    expected = engine.generate(CHAT, params)[0].logprobs
    assert expected is not None
    assert [record.logprob for record in records] == pytest.approx([e.logprob for e in expected])
    for record, same in zip(records, expected, strict=True):
        assert [top.logprob for top in record.top_logprobs] == pytest.approx(
            [logprob for _, logprob in same.top]
        )
        assert record.top_logprobs[0].bytes == record.bytes  # greedy
        assert bytes(record.bytes).decode("utf-8", "replace") == record.token
        assert record.logprob <= 0
    data = b"".join(bytes(record.bytes) for record in records)
    assert data.decode("utf-8", "replace") == answer.message.content
    assert chat(client, logprobs=True).choices[0].logprobs.content[0].top_logprobs == []
    assert chat(client).choices[0].logprobs is None


def test_streamed_logprobs_are_the_unstreamed_ones(client: openai.OpenAI) -> None:
    whole = chat(client, logprobs=True, top_logprobs=2, n=2, max_tokens=30)
    records: dict[int, list[Any]] = {0: [], 1: []}
    for chunk in chat(client, logprobs=True, top_logprobs=2, n=2, max_tokens=30, stream=True):
        for choice in chunk.choices:
            records[choice.index] += choice.logprobs.content if choice.logprobs else []
    for choice in whole.choices:
        expected = choice.logprobs.content
        assert [each.token for each in records[choice.index]] == [each.token for each in expected]
        assert [each.logprob for each in records[choice.index]] == pytest.approx(
            [each.logprob for each in expected], abs=1e-4
        )


def test_completion_logprobs_say_where_each_token_stands(client: openai.OpenAI) -> None:
    for prompt in ("the quick", "naïve café, 東"):
        choice = complete(client, prompt=prompt, logprobs=2, max_tokens=60, temperature=0).choices[
            0
        ]
        logprobs = choice.logprobs
        assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
        for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
            if "\ufffd" not in token:
                assert choice.text[offset : offset + len(token)] == token
        for own, top in zip(logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
            assert own == max(top.values())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_echo_with_logprobs_scores_the_prompt(
    client: openai.OpenAI, engine: Engine, stream: bool
) -> None:
    options: dict[str, Any] = {"prompt": "how many 東", "echo": True, "logprobs": 1, "n": 2}
    answer = complete(client, **options, stream=stream)
    parts = [choice for chunk in answer for choice in chunk.choices] if stream else answer.choices
    ids = engine.encode("how many 東")
    logits = engine.logits(ids).log_softmax(-1)
    expected = [logits[place, token].item() for place, token in enumerate(ids[1:])]
    for index in range(2):
        own = [part for part in parts if part.index == index]
        assert "".join(part.text for part in own).startswith("how many 東")
        scored = [score for part in own for score in part.logprobs.token_logprobs]
        offsets = [offset for part in own for offset in part.logprobs.text_offset]
        assert scored[0] is None
        assert scored[1 : len(ids)] == pytest.approx(expected, abs=1e-4)
        assert len(scored) == len(ids) + 12
        assert offsets == sorted(offsets) and offsets[len(ids)] == len("how many 東")


def test_echo_without_logprobs_is_the_prompt_and_the_answer(
    client: openai.OpenAI, engine: Engine
) -> None:
    plain = complete(client).choices[0].text
    for prompt in ("the quick", engine.encode("the quick")):
        assert complete(client, prompt=prompt, echo=True).choices[0].text == f"the quick{plain}"


def test_prompt_logprobs_are_vllm_s(client: openai.OpenAI, engine: Engine) -> None:
    extra = {"prompt_logprobs": 2}
    ids = engine.encode("the quick brown")
    choice = complete(client, prompt=ids, extra_body=extra).choices[0]
    first, *others = choice.prompt_logprobs
    assert first is None
    for token, record in zip(ids[1:], others, strict=True):
        assert math.isfinite(record[str(token)]["logprob"])
        assert sorted(each["rank"] for each in record.values() if each["rank"]) == [1, 2]
    assert chat(client, extra_body=extra).prompt_logprobs[0] is None
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, extra_body=extra, stream=True)
    assert caught.value.param == "prompt_logprobs"


# Formats


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_json_schema_is_followed_by_every_choice(client: openai.OpenAI, stream: bool) -> None:
    answer = chat(client, response_format=FORMAT, n=3, max_tokens=200, stream=stream)
    texts = dict.fromkeys(range(3), "")
    for chunk in answer if stream else [answer]:
        for choice in chunk.choices:
            shown = choice.delta if stream else choice.message
            texts[choice.index] += shown.content or ""
    for text in texts.values():
        herd = json.loads(text)
        assert type(herd["llamas"]) is int and type(herd["wild"]) is bool and len(herd) == 2


@pytest.mark.parametrize(
    "extra",
    [
        {"structured_outputs": {"json": SCHEMA}},
        {"guided_json": json.dumps(SCHEMA)},
        {"json_schema": SCHEMA},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_other_spellings_of_a_schema_are_the_same(
    client: openai.OpenAI, extra: dict[str, Any]
) -> None:
    expected = complete(client, extra_body={"response_format": FORMAT}, max_tokens=200)
    answer = complete(client, extra_body=extra, max_tokens=200)
    assert answer.choices[0].text == expected.choices[0].text


def test_json_object_is_an_object(client: openai.OpenAI) -> None:
    answer = chat(client, response_format={"type": "json_object"}, max_tokens=300, seed=1)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    assert answer.choices[0].message.content.lstrip().startswith("{")


def test_expressions_and_choices_are_followed(client: openai.OpenAI) -> None:
    for extra in ({"regex": "[ab]{4}"}, {"guided_regex": "[ab]{4}"}):
        text = complete(client, extra_body=extra).choices[0].text
        assert len(text) == 4 and set(text) <= {"a", "b"}
    options = ["a+b (c)", "d|e"]
    for seed in range(4):
        extra = {"structured_outputs": {"choice": options}}
        assert complete(client, extra_body=extra, seed=seed).choices[0].text in options


# What changes the distribution


def test_same_seed_is_the_same_answer_whatever_else_runs(client: openai.OpenAI) -> None:
    texts = {complete(client, seed=seed).choices[0].text for seed in (1, 1, 1)}
    assert len(texts) == 1
    assert complete(client, seed=2).choices[0].text not in texts


def test_logit_bias_forces_and_forbids(client: openai.OpenAI, engine: Engine) -> None:
    [token] = engine.encode("f")[-1:]
    forced = complete(client, logit_bias={str(token): 100}, temperature=0).choices[0]
    assert forced.text == "f" * 12
    plain = complete(client, temperature=0, logprobs=1).choices[0]
    first = engine.generate("the quick", SamplingParams(max_tokens=1, temperature=0.0))[0]
    banned = complete(client, logit_bias={str(first.token_ids[0]): -100}, temperature=0, logprobs=1)
    assert banned.choices[0].logprobs.tokens[0] != plain.logprobs.tokens[0]


def test_penalties_keep_tokens_from_coming_back(client: openai.OpenAI, engine: Engine) -> None:
    [token] = engine.encode("f")[-1:]
    bias = {str(token): 5}
    options: dict[str, Any] = {"logit_bias": bias, "temperature": 0, "max_tokens": 8}
    assert complete(client, **options).choices[0].text.count("f") == 8
    penalties = {"presence_penalty": 2.0, "frequency_penalty": 2.0}
    assert complete(client, **options, **penalties).choices[0].text.count("f") < 8


def test_fields_of_vllm_and_our_own_reach_the_engine(client: openai.OpenAI, engine: Engine) -> None:
    extra = {
        "top_k": 7,
        "min_p": 0.01,
        "typical_p": 0.95,
        "repetition_penalty": 1.3,
        "min_tokens": 20,
        "stop_token_ids": [50, 60],
        "ignore_eos": True,
        "prefix_cache": False,
    }
    params = SamplingParams(max_tokens=24, seed=3, **extra)
    expected = engine.generate("the quick", params)[0]
    answer = complete(client, max_tokens=24, extra_body={**extra, "priority": -1})
    assert answer.choices[0].text == expected.text
    assert answer.choices[0].finish_reason == expected.finish_reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", -2),
        ("min_p", 2),
        ("typical_p", 0),
        ("repetition_penalty", 0),
        ("min_tokens", -1),
        ("min_tokens", 10**9),
        ("stop_token_ids", ["a"]),
        ("ignore_eos", 1),
        ("prefix_cache", "no"),
        ("prompt_logprobs", 99),
        ("priority", 2**40),
        ("priority", "high"),
        ("json_schema", {"type": "nonsense"}),
        ("guided_json", "{"),
        ("guided_regex", "("),
        ("structured_outputs", {"regex": "("}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bad_extra_is_400_under_the_name_it_was_given(
    client: openai.OpenAI, field: str, value: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, extra_body={field: value})
    assert caught.value.param == field
    assert field in caught.value.message


def test_stop_ends_each_choice_by_itself(client: openai.OpenAI) -> None:
    texts = [choice.text for choice in complete(client, n=3, max_tokens=40).choices]
    stop = texts[1][10:12]
    stopped = complete(client, n=3, max_tokens=40, stop=[stop]).choices
    assert [choice.text for choice in stopped] == [text.partition(stop)[0] for text in texts]
    assert stopped[1].finish_reason == "stop"


def test_cached_tokens_are_told(client: openai.OpenAI) -> None:
    prompt = "how many plugins does it take to serve a llama? " * 3
    complete(client, prompt=prompt)
    usage = complete(client, prompt=prompt).usage
    assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens
    apart = complete(client, prompt=prompt, extra_body={"prefix_cache": False}).usage
    assert apart.prompt_tokens_details.cached_tokens == 0


def test_async_client_gets_the_same(server: ServerProcess, client: openai.OpenAI) -> None:
    async def ask() -> tuple[list[Any], dict[int, str]]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0
        ) as caller:
            options: Any = {
                "model": MODEL,
                "messages": CHAT,
                "max_tokens": 20,
                "n": 3,
                "seed": 3,
                "stop": ["e"],
                "frequency_penalty": 0.5,
            }
            wholes = await asyncio.gather(
                *(caller.chat.completions.create(**options) for _ in range(4))
            )
            texts = dict.fromkeys(range(3), "")
            async for chunk in await caller.chat.completions.create(**options, stream=True):
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
            return wholes, texts

    wholes, texts = asyncio.run(ask())
    options: dict[str, Any] = {"max_tokens": 20, "n": 3, "stop": ["e"], "frequency_penalty": 0.5}
    expected = [choice.message.content for choice in chat(client, **options).choices]
    for whole in wholes:
        assert [choice.message.content for choice in whole.choices] == expected
    assert list(texts.values()) == expected
