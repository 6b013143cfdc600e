"""`modcore generate` as a person types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modcore.engine import Engine, SamplingParams


def modcore(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modcore", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def generate(checkpoint: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return modcore("generate", str(checkpoint), *words)


def test_json_is_the_engine_s_answer(text_checkpoint: Path) -> None:
    words = ["--prompt", "the quick", "--max-tokens", "12", "--temperature", "0"]
    done = generate(text_checkpoint, *words, "--dtype", "float32", "--json")
    engine = Engine.from_pretrained(text_checkpoint, dtype="float32")
    params = SamplingParams(max_tokens=12, temperature=0.0)
    assert done.returncode == 0
    assert json.loads(done.stdout) == engine.generate("the quick", params)[0].to_json()
    assert done.stderr == ""


def test_text_is_printed_as_it_comes_and_is_the_same(text_checkpoint: Path) -> None:
    words = ["--prompt", "how many", "--max-tokens", "30", "--seed", "7", "--top-p", "0.9"]
    plain = generate(text_checkpoint, *words)
    as_json = generate(text_checkpoint, *words, "--json")
    text = json.loads(as_json.stdout)["text"]
    # The pipe's reader turns every kind of line end into one.
    assert plain.stdout == f"{text}\n".replace("\r\n", "\n").replace("\r", "\n")


def test_bfloat16_and_stop_strings_are_taken(text_checkpoint: Path) -> None:
    words = ["--prompt", "the", "--temperature", "0", "--max-tokens", "40", "--dtype", "bfloat16"]
    text = json.loads(generate(text_checkpoint, *words, "--json").stdout)["text"]
    stop = text[10:13]
    done = generate(text_checkpoint, *words, "--stop", "never met", "--stop", stop, "--json")
    answer = json.loads(done.stdout)
    assert answer["text"] == text.partition(stop)[0]
    assert answer["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--max-tokens", "0"], "--max-tokens"),
        (["--max-tokens", "-5"], "--max-tokens"),
        (["--max-tokens", "many"], "--max-tokens"),
        (["--temperature", "-1"], "--temperature"),
        (["--temperature", "nan"], "--temperature"),
        (["--top-p", "0"], "--top-p"),
        (["--seed", "99999999999999999999"], "--seed"),
        (["--stop", ""], "--stop"),
        (["--dtype", "int4"], "--dtype"),
        (["--kv-tokens", "0"], "--kv-tokens"),
        (["--max-batch", "many"], "--max-batch"),
        (["--prompt", ""], "--prompt"),
        (["--prompt", "fox " * 2000], "--prompt"),
        (["--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_option_is_one_sentence_with_exit_code_2(
    text_checkpoint: Path, words: list[str], option: str
) -> None:
    done = generate(text_checkpoint, "--prompt", "a", *words)
    assert done.returncode == 2
    assert option in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bad_checkpoint_is_one_sentence_with_exit_code_1(
    text_checkpoint: Path, tmp_path: Path
) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(text_checkpoint, spoiled)
    file = spoiled / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    for path in (spoiled, tmp_path / "nowhere", tmp_path):
        done = generate(path, "--prompt", "a")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert str(path) in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = modcore("--debug", "generate", str(tmp_path / "nowhere"), "--prompt", "a")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "CheckpointError" in done.stderr


def test_debug_behind_the_command_is_told_where_it_goes(text_checkpoint: Path) -> None:
    done = generate(text_checkpoint, "--prompt", "a", "--debug")
    assert done.returncode == 2
    assert "--debug goes before the command" in done.stderr


def test_output_that_takes_ascii_only_gets_the_rest_spelled_out(text_checkpoint: Path) -> None:
    words = ["generate", str(text_checkpoint), "--prompt", "naïve", "--temperature", "0", "--json"]
    done = modcore(*words, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()


def test_denied_plugin_is_named_as_that(text_checkpoint: Path) -> None:
    words = ["generate", str(text_checkpoint), "--prompt", "a"]
    done = modcore(*words, MODCORE_DISABLE_PLUGINS="modcore-llama")
    assert done.returncode == 1
    assert "modcore-llama" in done.stderr and "MODCORE_DISABLE_PLUGINS" in done.stderr
