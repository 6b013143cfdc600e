"""The official openai client through the front door, to models that `modcore serve --gateway` serves."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from front_doors import Cluster, Process
from waiting import wait_until

SERVED = {"MODCORE_API_KEY": "the key of the model"}


@pytest.fixture(scope="module")
def model(shared: Cluster, text_checkpoint: Path) -> Process:
    """Two models with keys of their own: the front door comes in with the cluster's token."""
    words = ["--dtype", "float32"]
    shared.model(text_checkpoint, "--model-name", "other/tiny", *words, **SERVED)
    return shared.model(text_checkpoint, "--model-name", "tiny", *words, **SERVED)


@pytest.fixture(scope="module")
def client(shared: Cluster, model: Process) -> openai.OpenAI:
    door = shared.front_door(MODCORE_API_KEY="sesame")
    client = openai.OpenAI(base_url=f"{door.url}/v1", api_key="sesame", max_retries=0, timeout=60)
    wait_until(lambda: len(client.models.list().data) == 2)
    return client


def test_models_of_all_services_are_listed(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["other/tiny", "tiny"]
    assert client.models.retrieve("other/tiny").owned_by == "modcore"


def test_a_chat_is_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="other/tiny", messages=[{"role": "user", "content": "fox"}], max_tokens=5
    )
    assert answer.model == "other/tiny"
    assert answer.usage and answer.usage.completion_tokens <= 5


def test_a_stream_is_what_the_whole_answer_is(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "the quick", "max_tokens": 12, "temperature": 0}
    whole = client.completions.create(**asked)  # type: ignore[call-overload]
    stream = client.completions.create(  # type: ignore[call-overload]
        **asked, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_a_stream_can_be_closed(client: openai.OpenAI, model: Process) -> None:
    stream = client.completions.create(
        model="tiny", prompt="the", max_tokens=400, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    bearer = f"Bearer {SERVED['MODCORE_API_KEY']}"
    running = "modcore:num_requests_running"
    wait_until(
        lambda: (
            f'{running}{{model_name="tiny"}} 0.0'
            in model.ask("/metrics", authorization=bearer).body.decode()
        )
    )


def test_errors_are_those_of_the_client_library(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="gpt", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="tiny", prompt="x", max_tokens=-1)
    assert wrong.value.param == "max_tokens"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_the_model_itself_asks_for_its_key(model: Process) -> None:
    assert model.ask("/v1/models").status == 401
    assert model.ask("/v1/models", authorization="Bearer the key of the model").status == 200


def test_a_model_that_ends_is_not_listed_any_more(
    shared: Cluster, client: openai.OpenAI, text_checkpoint: Path
) -> None:
    third = shared.model(text_checkpoint, "--model-name", "third", "--dtype", "float32")
    wait_until(lambda: "third" in {each.id for each in client.models.list()})
    assert third.stop() == 0
    wait_until(lambda: "third" not in {each.id for each in client.models.list()})
