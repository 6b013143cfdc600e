"""A caller who goes away frees its request at once, wherever the request is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from checkpoints import llama_config, train_tokenizer, write_random
from processes import children_of
from servers import Samples, ServerProcess, samples_of, scrape, send, serving
from waiting import wait_until

CONTEXT = 16_384
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ASKED: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "the quick", "max_tokens": 12_000, "ignore_eos": True},
    CHAT: {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 12_000,
        "ignore_eos": True,
    },
}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose answers take so long that none ends within a test; two sequences at a time."""
    directory = tmp_path_factory.mktemp("slow") / "model"
    tokenizer = train_tokenizer()
    config = llama_config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        max_position_embeddings=CONTEXT,
    )
    write_random(config, directory)
    tokenizer.save_pretrained(directory)
    words = ["--dtype", "float32", "--max-batch", "2", "--kv-tokens", str(3 * CONTEXT)]
    with serving(str(directory), *words) as server:
        yield server
        assert not [line for line in server.errors if "Traceback" in line]


def samples_once(server: ServerProcess, condition: Callable[[Samples], bool]) -> Samples:
    """The first samples for which `condition` holds."""
    seen: list[Samples] = []

    def holds() -> bool:
        seen.append(samples_of(server))
        return condition(seen[-1])

    wait_until(holds, 60)
    return seen[-1]


def is_idle(samples: Samples) -> bool:
    return not any(
        samples[name, ""]
        for name in ("num_requests_running", "num_requests_waiting", "kv_tokens_in_use")
    )


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_caller_who_leaves_while_it_is_answered(
    slow: ServerProcess, path: str, n: int, stream: bool
) -> None:
    before = samples_of(slow)
    written = before["generation_tokens_total", ""]
    with send(slow, path, {**ASKED[path], "n": n, "stream": stream}):
        samples_once(slow, lambda samples: samples["generation_tokens_total", ""] > written + 4)
        running = samples_of(slow)
        assert running["num_requests_running", ""] == min(n, 2)
        assert running["kv_tokens_in_use", ""] > 0
    after = samples_once(slow, is_idle)
    assert after["generation_tokens_total", ""] < written + 6000
    aborted = ("request_success_total", "abort")
    samples_once(slow, lambda samples: samples[aborted] == before[aborted] + 1)
    assert samples_of(slow)["generation_tokens_total", ""] == after["generation_tokens_total", ""]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_caller_who_leaves_while_it_waits(slow: ServerProcess, stream: bool) -> None:
    holders = [send(slow, COMPLETIONS, ASKED[COMPLETIONS]) for _ in range(2)]
    samples_once(slow, lambda samples: samples["num_requests_running", ""] == 2)
    with send(slow, COMPLETIONS, {**ASKED[COMPLETIONS], "n": 3, "stream": stream}):
        samples_once(slow, lambda samples: samples["num_requests_waiting", ""] == 3)
    left = samples_once(slow, lambda samples: samples["num_requests_waiting", ""] == 0)
    assert left["num_requests_running", ""] == 2
    for holder in holders:
        holder.close()
    samples_once(slow, is_idle)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_caller_who_leaves_while_its_prompt_is_read(slow: ServerProcess, stream: bool) -> None:
    before = samples_of(slow)
    prompt = [5 + place % 300 for place in range(CONTEXT - 500)]
    asked = {"prompt": prompt, "max_tokens": 400, "stream": stream, "prefix_cache": False, "n": 2}
    with send(slow, COMPLETIONS, asked):
        samples_once(slow, lambda samples: samples["num_requests_running", ""] > 0)
    after = samples_once(slow, is_idle)
    # Nobody has waited for the rest of the prompt: it was never read to its end.
    assert after["prompt_tokens_total", ""] == before["prompt_tokens_total", ""]
    assert after["generation_tokens_total", ""] == before["generation_tokens_total", ""]


def test_caller_who_leaves_while_its_body_is_sent_leaves_no_trace(slow: ServerProcess) -> None:
    with send(slow, COMPLETIONS, b""):
        pass
    body = b'{"prompt": "the", "max_to'
    connection = send(slow, COMPLETIONS, body)
    connection.close()
    cut = send(slow, COMPLETIONS, b"")
    cut.sendall(
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 9999\r\n\r\n" + body
    )
    cut.close()
    assert is_idle(samples_of(slow))


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_caller_who_leaves_while_its_schema_is_tried(
    slow: ServerProcess, path: str, stream: bool
) -> None:
    [helper] = children_of(slow.process.pid)
    os.kill(helper, signal.SIGSTOP)
    try:
        schema = {"type": "integer", "multipleOf": 7, "description": f"{path} {stream}"}
        asked = {**ASKED[path], "json_schema": schema, "stream": stream, "n": 128}
        holders = [send(slow, path, asked) for _ in range(8)]  # as many as may wait
        wait_until_taken(slow, False)
        for holder in holders:
            holder.close()
        wait_until_taken(slow, True)
    finally:
        os.kill(helper, signal.SIGCONT)


def wait_until_taken(server: ServerProcess, expected: bool) -> None:
    def is_taken() -> bool:
        status, _, _ = scrape(server.url, COMPLETIONS, b'{"prompt": "a", "max_tokens": 1}')
        return status == 200

    wait_until(lambda: is_taken() is expected, 15)
