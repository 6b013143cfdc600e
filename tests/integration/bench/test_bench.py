"""`modcore bench` as a person types it: a checkpoint and a server measured, shown, written, drawn."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from checkpoints import llama_config, train_tokenizer, write_random
from servers import ServerProcess, serving
from waiting import wait_until

LOAD = (
    "--concurrency",
    "1,3",
    "--prompt-tokens",
    "8-16",
    "--output-tokens",
    "4",
    "--requests",
    "6",
)


def bench(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "modcore", "bench", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that never ends an answer early."""
    directory = tmp_path_factory.mktemp("bench") / "tiny-llama"
    tokenizer = train_tokenizer()
    write_random(llama_config(vocab_size=len(tokenizer)), directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[ServerProcess]:
    with serving(str(checkpoint), MODCORE_API_KEY="s3cret") as running:
        # An answer without an end token is as long as was asked for.
        yield running


def verify_figures(report: dict[str, Any]) -> None:
    assert [level["max_concurrency"] for level in report["levels"]] == [1, 3]
    for level in report["levels"]:
        assert (level["completed"], level["failed"], level["errors"]) == (6, 0, {})
        assert 6 * 8 <= level["total_input_tokens"] <= 6 * 16
        assert level["total_output_tokens"] == 6 * 4
        assert level["output_throughput"] == pytest.approx(24 / level["duration"])
        assert level["request_throughput"] == pytest.approx(6 / level["duration"])
        for name in ("ttft", "tpot", "itl", "e2el"):
            median, p90, p99 = (level[f"{what}_{name}_ms"] for what in ("median", "p90", "p99"))
            assert 0 < median <= p90 <= p99
            assert level[f"mean_{name}_ms"] > 0
        assert level["mean_ttft_ms"] < level["mean_e2el_ms"] <= 1000 * level["duration"]


def test_checkpoint_is_measured_and_its_json_is_all_there_is_on_stdout(
    checkpoint: Path, tmp_path: Path
) -> None:
    words = ["--dtype", "bfloat16", "--max-batch", "2", "--seed", "7", "--json"]
    done = bench(checkpoint, *LOAD, *words, "--output", tmp_path / "figures.json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    verify_figures(report)
    assert report == json.loads((tmp_path / "figures.json").read_text())
    assert (report["kind"], report["model_id"]) == ("checkpoint", "tiny-llama")
    settings = report["settings"]
    assert (settings["dtype"], settings["engine"]) == ("bfloat16", {"max_batch": 2})
    assert (settings["seed"], settings["prompt_tokens"]) == (7, "8-16")
    assert report["interrupted"] is False


def test_server_is_measured_with_the_key_from_the_environment(server: ServerProcess) -> None:
    done = bench(f"{server.url}/v1", *LOAD, "--api-key-env", "THE_KEY", "--json", THE_KEY="s3cret")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    verify_figures(report)
    assert (report["kind"], report["target"]) == ("url", server.url)
    assert report["model_id"] == "tiny-llama"
    assert "s3cret" not in done.stdout


@pytest.mark.parametrize("words", [["--text-prompts"], ["--request-rate", "50"]])
def test_server_is_measured_with_words_and_with_random_arrivals(
    server: ServerProcess, words: list[str]
) -> None:
    done = bench(server.url, *LOAD, *words, "--api-key-env", "THE_KEY", "--json", THE_KEY="s3cret")
    assert done.returncode == 0
    levels = json.loads(done.stdout)["levels"]
    assert [level["completed"] for level in levels] == [6, 6]
    assert levels[0]["request_rate"] == (50 if "--request-rate" in words else None)


def test_table_and_picture_are_for_people(checkpoint: Path, tmp_path: Path) -> None:
    plot = tmp_path / "figures.png"
    done = bench(checkpoint, *LOAD, "--shared-prefix", "4", "--plot", plot, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny-llama: float32, prompts 8-16 (4 shared), outputs 4 tokens" in done.stdout
    assert re.search(r"^ +3 +6 +0 +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$", done.stdout, re.M)
    for name in ("TTFT", "TPOT", "ITL", "E2EL"):
        assert f"({name})" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    data = plot.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 1500 and height > 500


def test_server_without_the_right_key_says_so(server: ServerProcess) -> None:
    for words in ([], ["--api-key-env", "THE_KEY"]):
        done = bench(server.url, *LOAD, *words, THE_KEY="wrong")
        assert (done.returncode, done.stdout) == (1, "")
        assert "--api-key-env" in done.stderr and "wrong" not in done.stderr


def test_server_that_dies_leaves_what_was_measured_and_exit_code_1(checkpoint: Path) -> None:
    with serving(str(checkpoint)) as dying:
        words = ["--concurrency", "2,3", "--requests", "100000", "--output-tokens", "300"]
        running = start(dying.url, *words, "--warmup", "0", "--json")
        wait_for_answers(dying, 5)
        dying.process.kill()
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 1
    report = json.loads(stdout)
    first, second = report["levels"]
    assert first["completed"] >= 5 and first["failed"] >= 20
    assert (second["completed"], second["mean_ttft_ms"]) == (0, None)
    assert re.search(r"^concurrency 2: \d+ of 100000 requests failed; the first: ", stderr, re.M)
    assert "Connection refused" in stderr


def test_interrupted_measurement_shows_what_there_is_with_exit_code_130(
    checkpoint: Path, tmp_path: Path
) -> None:
    with serving(str(checkpoint)) as server:
        words = ["--concurrency", "2,8", "--requests", "100000", "--warmup", "0", "--json"]
        running = start(server.url, *words, "--output", str(tmp_path / "figures.json"))
        wait_for_answers(server, 5)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stderr) == (130, "interrupted\n")
    report = json.loads(stdout)
    assert report["interrupted"] is True
    (level,) = report["levels"]
    assert level["completed"] >= 5 and level["failed"] == 0
    assert json.loads((tmp_path / "figures.json").read_text()) == report


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modcore", "bench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_answers(server: ServerProcess, count: int) -> None:
    """Until the server has given so many whole answers."""
    address = urlsplit(server.url)

    def has_given_them() -> bool:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        connection.request("GET", "/metrics")
        said = connection.getresponse().read().decode()
        connection.close()
        found = re.search(r"^modcore:e2e_request_latency_seconds_count\{.*\} (\S+)$", said, re.M)
        # One of them was to learn what the server takes.
        return found is not None and float(found[1]) > count

    wait_until(has_given_them, 60, f"the server has given {count} answers")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--concurrency", "1,many"], "--concurrency"),
        (["--concurrency", "0"], "--concurrency"),
        (["--concurrency", ","], "--concurrency"),
        (["--prompt-tokens", "0"], "--prompt-tokens"),
        (["--output-tokens", "9-3"], "--output-tokens"),
        (["--prompt-tokens", "500", "--output-tokens", "100"], "--prompt-tokens"),
        (["--requests", "-1"], "--requests"),
        (["--request-rate", "0"], "--request-rate"),
        (["--timeout", "nan"], "--timeout"),
        (["--shared-prefix", "128"], "--shared-prefix"),
        (["--plot", "figures.pdf"], "--plot"),
        (["--plot", "/nowhere/figures.png"], "--plot"),
        (["--output", "/nowhere/figures.json"], "--output"),
        (["--output", "/tmp"], "--output"),
        (["--kv-tokens", "0"], "--kv-tokens"),
        (["--dtype", "int3"], "--dtype"),
        (["--model", "x"], "--model"),
        (["--api-key-env", "HOME"], "--api-key-env"),
        (["--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_option_is_one_sentence_with_exit_code_2(
    checkpoint: Path, words: list[str], option: str
) -> None:
    done = bench(checkpoint, *words)
    assert done.returncode == 2, done.stderr
    assert option in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://here"], "http://"),
        (["localhost:8000"], "http://"),
        (["127.0.0.1:8000/v1"], "http://"),
        (["http://key:s3cret@127.0.0.1:1"], "--api-key-env"),
        (["http://127.0.0.1:1", "--dtype", "float32"], "--dtype"),
        (["http://127.0.0.1:1", "--api-key-env", "NOT_SET_ANYWHERE"], "--api-key-env"),
    ],
)
def test_wrong_server_option_is_one_sentence_with_exit_code_2(words: list[str], said: str) -> None:
    done = bench(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "s3cret" not in done.stderr


def test_target_that_is_not_there_is_one_sentence_with_exit_code_1(tmp_path: Path) -> None:
    for target in ("http://127.0.0.1:1", tmp_path / "nowhere"):
        done = bench(target)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert str(target) in done.stderr


def test_server_is_measured_without_torch_or_transformers() -> None:
    statement = (
        "import sys, modcore.cli; modcore.cli.main(['bench', 'http://127.0.0.1:1']); "
        "print(sorted({'torch', 'transformers', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "cannot be reached" in done.stderr


def test_plot_without_matplotlib_names_the_extra_before_anything_is_measured(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "matplotlib.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'matplotlib'\", name='matplotlib')"
    )
    plot = tmp_path / "figures.png"
    done = bench(checkpoint, "--plot", plot, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'modcore[bench]'" in done.stderr
    assert not plot.exists()
