"""A checkpoint that is served as a module speaks the OpenAI API as well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from service_modules import TOKEN
from services import ServiceProcess, service
from waiting import wait_until


@pytest.fixture(scope="module")
def poet(text_checkpoint: Path) -> Iterator[ServiceProcess]:
    with service("Checkpoint", name="poet", checkpoint=str(text_checkpoint)) as running:
        yield running


def test_module_and_openai_api_give_the_same_answer(poet: ServiceProcess) -> None:
    client = openai.OpenAI(base_url=f"{poet.url}/v1", api_key=TOKEN, max_retries=0)
    assert [model.id for model in client.models.list()] == ["poet"]
    messages = [{"role": "user", "content": "the"}]
    options = {"model": "poet", "messages": messages, "max_tokens": 5, "temperature": 0}
    answer = client.chat.completions.create(**options).choices[0].message.content
    assert poet.remote.call((messages,), {"max_tokens": 5}) == answer
    pieces = client.chat.completions.create(**options, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == answer


def test_openai_api_asks_for_the_token(poet: ServiceProcess) -> None:
    client = openai.OpenAI(base_url=f"{poet.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_engine_and_calls_are_in_one_page_of_metrics(poet: ServiceProcess) -> None:
    assert poet.metric("kv_tokens_capacity") > 0
    assert poet.metric("calls_capacity") == 128
    assert poet.metric("calls_in_flight") == 0


def test_wrong_prompt_is_the_modules_error_by_name(poet: ServiceProcess) -> None:
    status, error = poet.error("POST", "/call", b'{"args": [3]}')
    assert (status, error["type"]) == (500, "InvalidRequest")
    assert "prompt" in error["message"]


def test_stream_of_the_openai_api_is_ended_with_an_error_when_the_service_is(
    text_checkpoint: Path,
) -> None:
    with service("Checkpoint", checkpoint=str(text_checkpoint), grace=0.2) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=TOKEN, max_retries=0)
        name = json.loads(running.ask("GET", "/v1/models")[2])["data"][0]["id"]
        stream = client.completions.create(
            model=name, prompt="the", max_tokens=500, temperature=0, stream=True
        )
        next(iter(stream))
        wait_until(lambda: running.metric("calls_in_flight") == 1)
        running.process.terminate()
        assert running.process.wait(10) == 0
