"""`modcore demo`, from the training to the last line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from modcore.demo import questions
from modcore.engine import Engine, SamplingParams


def test_demo_trains_serves_asks_scores_and_stops(tmp_path: Path) -> None:
    kept = tmp_path / "poet"
    done = subprocess.run(
        [sys.executable, "-m", "modcore", "demo", "--output", str(kept)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = done.stdout
    assert re.search(r"^  step \d+, loss", said, re.M)
    assert re.search(r"^plugins: .*modcore-llama", said, re.M)
    assert re.search(r"^match: LlamaForCausalLM from modcore-llama", said, re.M)
    assert re.search(r"^url: http://127\.0\.0\.1:\d+$", said, re.M)
    assert re.search(r"^answer: In the forests of the night;$", said, re.M)
    score = re.search(r"^score: (\d+) of (\d+)", said, re.M)
    assert score and int(score[1]) >= 0.8 * int(score[2])
    assert said.rstrip().splitlines()[-2].endswith("exit code 0")
    assert len(said.splitlines()) < 30

    prompt, expected = questions()[0]
    params = SamplingParams(max_tokens=30, temperature=0.0, stop="\n")
    assert Engine.from_pretrained(kept).generate(prompt, params)[0].text == expected


def test_demo_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "modcore", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert demo.stdout
    for line in demo.stdout:
        if line.startswith("  step"):
            break
    assert list(tmp_path.iterdir())
    demo.terminate()
    assert demo.wait(20) == 143
    ours = [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor_")]
    assert not ours  # PyTorch keeps a directory for what it compiles


def test_demo_does_not_write_into_a_directory_that_exists(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modcore", "demo", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "--output" in done.stderr
