"""A training that is broken off goes on where its last checkpoint was, and ends as if nothing had been."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import reference
from modcore.training import TrainableModule, finetune
from modcore.training.checkpoints import Target
from waiting import wait_until

from .conftest import ROWS, names_in

METHODS = {
    "full": {"save_steps": 5, "max_steps": 60},
    "lora": {"save_steps": 5, "max_steps": 60, "r": 4},
}

CHILD = """
import sys
from modcore.training import TrainableModule
base, target, rows, kind = sys.argv[1:]
TrainableModule(base, target).trainset(rows).finetune_method(kind, **METHODS[kind]).skip("deploy").update()
"""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that this process takes, as the Trainer counts them."""
    taken: list[int] = []

    class Counting(finetune.SaveEveryMinute):  # type: ignore[name-defined,misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            taken.append(state.global_step)

    monkeypatch.setattr(finetune, "SaveEveryMinute", Counting)
    return taken


def module(base: Path, target: Path, kind: str = "full") -> TrainableModule:
    made = TrainableModule(base, target).trainset(ROWS).finetune_method(kind, **METHODS[kind])
    return made.skip("deploy")


def same_weights(one: Path, other: Path) -> bool:
    first, second = reference(one).state_dict(), reference(other).state_dict()
    return all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_killed_training_is_gone_on_with(
    base: Path, tmp_path: Path, kind: str, steps: list[int]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, ROWS)))
    target = tmp_path / "target"
    script = CHILD.replace("METHODS", repr(METHODS))
    child = subprocess.Popen([sys.executable, "-c", script, base, target, rows, kind])
    try:
        wait_for_json(target / "checkpoint-5" / "trainer_state.json", child)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert not (target / "config.json").exists()

    module(base, target, kind).update()
    assert steps[0] >= 5
    assert steps[-1] == 59
    module(base, tmp_path / "whole", kind).update()
    assert names_in(target) == names_in(tmp_path / "whole")
    assert same_weights(target, tmp_path / "whole")


def test_an_interrupted_training_is_gone_on_with(
    base: Path, tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(finetune.SaveEveryMinute):  # type: ignore[name-defined,misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            if state.global_step == 13:
                raise KeyboardInterrupt
            return control

    learner = module(base, tmp_path / "target")
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "SaveEveryMinute", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            learner.update()
    assert learner.state.train == "interrupted"
    kept = {name for name in names_in(tmp_path / "target") if name.startswith("checkpoint-")}
    assert kept == {"checkpoint-5", "checkpoint-10"}
    steps.clear()
    learner.update()
    assert (steps[0], steps[-1]) == (10, 59)
    assert learner.state.train == "done"


async def test_a_cancelled_training_in_a_thread_is_interrupted(base: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    learner = module(base, target).finetune_method("full", save_steps=5, max_steps=100_000)
    update = asyncio.create_task(learner.aupdate())
    while not (target / "checkpoint-5" / "trainer_state.json").exists():
        await asyncio.sleep(0.05)
    update.cancel()
    with pytest.raises(asyncio.CancelledError):
        await update
    assert learner.state.train == "interrupted"
    with Target(target).locked():  # nobody trains there any more
        pass


def test_another_method_begins_anew(
    base: Path, tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = module(base, tmp_path / "target")

    def out_of_disk(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "_save", out_of_disk)
        with pytest.raises(OSError, match="No space"):
            learner.update()
    assert (tmp_path / "target" / "checkpoint-60").is_dir()
    steps.clear()
    learner.finetune_method("full", save_steps=5, max_steps=8).update()
    assert (steps[0], steps[-1]) == (0, 7)


def test_only_checkpoints_made_of_plain_values_are_gone_on_with(
    base: Path, tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = torch.load

    def watched(*args: Any, **options: Any) -> Any:
        loads.append(options.get("weights_only"))
        return load(*args, **options)

    monkeypatch.setattr(finetune, "_save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        module(base, tmp_path / "target").update()
    monkeypatch.setattr(torch, "load", watched)
    with pytest.raises(ZeroDivisionError):
        module(base, tmp_path / "target").update()
    assert loads
    assert all(loads)


def wait_for_json(file: Path, child: subprocess.Popen[bytes]) -> None:
    """Wait until the child has written `file` to its end: one that is there may still be half empty."""

    def is_whole() -> bool:
        assert child.poll() is None, "the training ended before it could be killed"
        return is_json(file)

    wait_until(is_whole, 60)


def is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True
