"""The official openai client against a real server process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from modcore.engine import Engine, SamplingParams

MODEL = "tiny-llama"
CHAT: list[Any] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "how many 🦙?"}]},
]


@pytest.fixture(scope="module")
def engine(text_checkpoint: Path) -> Engine:
    return Engine.from_pretrained(text_checkpoint, dtype="float32")


def complete(client: openai.OpenAI, **options: Any) -> Any:
    options = {"prompt": "the quick", "max_tokens": 24, "temperature": 0, **options}
    return client.completions.create(model=MODEL, **options)


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "modcore"


def test_completion_is_the_engine_s_answer(client: openai.OpenAI, engine: Engine) -> None:
    expected = engine.generate("the quick", SamplingParams(max_tokens=24, temperature=0.0))[0]
    answer = complete(client)
    assert answer.choices[0].text == expected.text
    assert answer.choices[0].finish_reason == expected.finish_reason
    assert answer.usage.total_tokens == expected.usage.total_tokens
    assert answer.model == MODEL and answer.object == "text_completion"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompt": "naïve café, 東", "max_tokens": 60},
        {"temperature": 1.0, "seed": 5, "top_p": 0.9, "max_tokens": 60},
    ],
    ids=["greedy", "split characters", "sampled"],
)
def test_streamed_completion_equals_the_unstreamed_one(
    client: openai.OpenAI, options: dict[str, Any]
) -> None:
    whole = complete(client, **options).choices[0]
    chunks = list(complete(client, **options, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason


def test_stop_strings_end_streamed_and_unstreamed_alike(client: openai.OpenAI) -> None:
    text = complete(client, max_tokens=60).choices[0].text
    stop = text[20:24]
    whole = complete(client, max_tokens=60, stop=[stop]).choices[0]
    assert whole.text == text.partition(stop)[0]
    assert whole.finish_reason == "stop"
    chunks = list(complete(client, max_tokens=60, stop=stop, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text


def test_prompts_in_a_list_are_answered_in_order(client: openai.OpenAI) -> None:
    prompts = ["the quick", "def", "fox"]
    together = complete(client, prompt=prompts)
    alone = [complete(client, prompt=prompt).choices[0].text for prompt in prompts]
    assert [choice.text for choice in together.choices] == alone
    texts = {0: "", 1: "", 2: ""}
    for chunk in complete(client, prompt=prompts, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert list(texts.values()) == alone


def test_token_ids_are_taken_as_prompts(client: openai.OpenAI, engine: Engine) -> None:
    ids = engine.encode("the quick")
    expected = complete(client).choices[0].text
    assert complete(client, prompt=ids).choices[0].text == expected
    assert [choice.text for choice in complete(client, prompt=[ids, ids]).choices] == [expected] * 2


def test_chat_is_rendered_with_the_template(client: openai.OpenAI, engine: Engine) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "how many 🦙?"},
    ]
    expected = engine.generate(messages, SamplingParams(max_tokens=20, temperature=0.0))[0]
    for limit in ({"max_tokens": 20}, {"max_completion_tokens": 20}):
        answer = client.chat.completions.create(model=MODEL, messages=CHAT, temperature=0, **limit)
        assert answer.choices[0].message.content == expected.text
        assert answer.choices[0].message.role == "assistant"
        assert answer.usage and answer.usage.prompt_tokens == expected.usage.prompt_tokens


def test_streamed_chat_equals_the_unstreamed_one(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": MODEL, "messages": CHAT, "temperature": 0, "max_tokens": 30}
    whole = client.chat.completions.create(**options)
    chunks = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage


def test_chat_without_a_limit_goes_on_until_the_context_ends(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=CHAT, temperature=0)
    assert answer.usage
    if answer.choices[0].finish_reason == "length":
        assert answer.usage.total_tokens == 512


def test_callers_at_once_get_the_answers_they_would_get_alone(client: openai.OpenAI) -> None:
    prompts = ["the", "def", "fox", "how many", "naïve", "0123"] * 3
    alone = {prompt: complete(client, prompt=prompt).choices[0].text for prompt in set(prompts)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda prompt: complete(client, prompt=prompt), prompts))
    assert [answer.choices[0].text for answer in answers] == [alone[prompt] for prompt in prompts]


def test_unknown_model_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt-9", prompt="x")
    assert caught.value.param == "model"
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 10**12),
        ("max_tokens", "8"),
        ("temperature", -1),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.5),
        ("seed", 2**70),
        ("stop", ""),
        ("stop", ["a"] * 100_000),
        ("stop", 7),
        ("prompt", ""),
        ("prompt", []),
        ("prompt", [[]]),
        ("prompt", ["a", 1]),
        ("prompt", [10**9]),
        ("prompt", {"text": "a"}),
        ("prompt", "fox " * 3000),
        ("prompt", ["a"] * 1000),
        ("n", 0),
        ("n", 10**9),
        ("n", True),
        ("best_of", 0),
        ("echo", "yes"),
        ("suffix", "the end"),
        ("logprobs", 21),
        ("logprobs", True),
        ("presence_penalty", 2.1),
        ("frequency_penalty", "much"),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"five": 1}),
        ("logit_bias", [5]),
        ("stream", "yes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_value_is_400_with_its_param(client: openai.OpenAI, param: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **{param: value})
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("param", "options"),
    [
        ("messages", {"messages": []}),
        ("messages", {"messages": [{"role": "king", "content": "hi"}]}),
        ("messages", {"messages": [{"role": "user", "content": "fox " * 3000}]}),
        (
            "messages",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:,"}}],
                    }
                ]
            },
        ),
        ("max_completion_tokens", {"max_completion_tokens": 0}),
        ("max_tokens", {"max_tokens": 0}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("logprobs", {"logprobs": 2}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
        ("response_format", {"response_format": {"type": "xml"}}),
        ("response_format", {"response_format": {"type": "json_schema"}}),
        ("messages", {"messages": [{"role": "user", "content": "a"}] * 5000}),
        ("messages", {"messages": [7] * 5000}),
    ],
)
def test_bad_chat_is_400_with_its_param(
    client: openai.OpenAI, param: str, options: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": CHAT, **options})
    assert caught.value.param == param


def test_fields_that_change_nothing_are_taken_and_others_refused(client: openai.OpenAI) -> None:
    harmless: dict[str, Any] = {"user": "me", "n": 1, "presence_penalty": 0, "logit_bias": {}}
    assert complete(client, **harmless).choices
    for field in ("temprature", "max_completion_tokens", "guided_grammar"):
        with pytest.raises(openai.BadRequestError) as caught:
            complete(client, extra_body={field: 1})
        assert caught.value.param == field


def test_bad_value_in_a_stream_is_400_and_not_a_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        complete(client, stream=True, prompt="")
