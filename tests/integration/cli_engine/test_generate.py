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


def test_several_choices_with_logprobs_are_in_the_json(text_checkpoint: Path) -> None:
    words = ["--prompt", "the quick", "--max-tokens", "5", "--seed", "3", "--n", "3"]
    done = generate(text_checkpoint, *words, "--dtype", "float32", "--logprobs", "2", "--json")
    answer = json.loads(done.stdout)
    engine = Engine.from_pretrained(text_checkpoint, dtype="float32")
    params = SamplingParams(max_tokens=5, seed=3, n=3, logprobs=2)
    expected = engine.generate("the quick", params)[0]
    assert [choice["text"] for choice in answer["choices"]] == [c.text for c in expected.choices]
    assert answer["logprobs"] == answer["choices"][0]["logprobs"]
    for choice, same in zip(answer["choices"], expected.choices, strict=True):
        assert same.logprobs is not None
        shown = [record["logprob"] for record in choice["logprobs"]["content"]]
        assert shown == pytest.approx([record.logprob for record in same.logprobs], abs=1e-4)
        assert all(len(record["top_logprobs"]) == 2 for record in choice["logprobs"]["content"])
    text = generate(text_checkpoint, *words, "--dtype", "float32").stdout
    assert text.startswith(f"[1] {expected.text}") and "\n[3] " in text


def test_schema_and_expression_are_followed(text_checkpoint: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"a": {"enum": [7]}}, "required": ["a"]}')
    words = ["--prompt", "a", "--seed", "1"]
    done = generate(text_checkpoint, *words, "--json-schema", str(schema), "--max-tokens", "300")
    assert json.loads(done.stdout)["a"] == 7
    shaping = ["--top-k", "99", "--min-p", "0.001", "--typical-p", "0.99", "--ignore-eos"]
    done = generate(text_checkpoint, *words, *shaping, "--regex", "[xy]{6}")
    assert set(done.stdout.strip()) <= {"x", "y"} and len(done.stdout) == 7


def test_help_fits_a_terminal_of_80_columns(text_checkpoint: Path) -> None:
    done = modcore("generate", "--help", COLUMNS="80")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for heading in ("Length", "Sampling", "Answer", "Engine"):
        assert f"\n{heading}:" in done.stdout


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
        (["--top-k", "-2"], "--top-k"),
        (["--min-p", "2"], "--min-p"),
        (["--typical-p", "0"], "--typical-p"),
        (["--repetition-penalty", "0"], "--repetition-penalty"),
        (["--presence-penalty", "3"], "--presence-penalty"),
        (["--frequency-penalty", "x"], "--frequency-penalty"),
        (["--min-tokens", "-1"], "--min-tokens"),
        (["--n", "0"], "--n"),
        (["--logprobs", "2"], "--logprobs"),
        (["--logprobs", "99", "--json"], "--logprobs"),
        (["--json-schema", "/no/such/file"], "--json-schema"),
        (["--json-schema", __file__], "--json-schema"),
        (["--regex", "("], "--regex"),
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
