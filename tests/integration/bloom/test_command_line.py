"""A Bloom checkpoint with its tokenizer, through `explain`, `generate` and `serve`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import bloom_config, reference, reference_greedy, train_tokenizer, write_random
from servers import serving


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("text") / "tiny-bloom"
    tokenizer = train_tokenizer()
    write_random(bloom_config(heads=3, vocab_size=len(tokenizer)), directory)
    tokenizer.save_pretrained(directory)
    return directory


def modcore(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modcore", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_explain_names_the_package(checkpoint: Path) -> None:
    explained = json.loads(modcore("explain", checkpoint, "--json").stdout)
    assert explained["chosen"]["dist"] == "modcore-bloom"
    assert explained["chosen"]["id"] == "BloomForCausalLM"


def test_config_that_names_only_its_model_type_is_matched(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bloom"}')
    explained = json.loads(modcore("explain", tmp_path, "--json").stdout)
    assert explained["chosen"]["id"] == "BloomForCausalLM"


def test_generate_answers_as_transformers_does(checkpoint: Path) -> None:
    words = ["--prompt", "the quick", "--max-tokens", "16", "--temperature", "0", "--json"]
    done = modcore("generate", checkpoint, *words)
    assert (done.returncode, done.stderr) == (0, "")
    ids = train_tokenizer().encode("the quick")
    answer = json.loads(done.stdout)
    assert answer["token_ids"] == reference_greedy(reference(checkpoint), ids, 16)


def test_context_length_is_an_option_of_generate(checkpoint: Path) -> None:
    long = ["--prompt", "the quick " * 1500, "--max-tokens", "2"]
    refused = modcore("generate", checkpoint, *long)
    assert refused.returncode == 2 and "context of 2048" in refused.stderr
    done = modcore("generate", checkpoint, *long, "--context-length", "20000", "--json")
    assert json.loads(done.stdout)["usage"]["prompt_tokens"] > 2048
    wrong = modcore("generate", checkpoint, "--prompt", "a", "--context-length", "0")
    assert wrong.returncode == 2 and "--context-length" in wrong.stderr


def test_serve_answers_with_the_context_that_was_asked_for(checkpoint: Path) -> None:
    with serving(str(checkpoint), "--context-length", "5000") as server:
        client = server.client()
        answer = client.completions.create(
            model="tiny-bloom",
            prompt="the quick",
            max_tokens=5,
            extra_body={"ignore_eos": True},  # a random model may end an answer at once
        )
        assert answer.usage is not None and answer.usage.completion_tokens == 5
        (model,) = client.models.list().data
        assert model.model_dump()["max_model_len"] == 5000
