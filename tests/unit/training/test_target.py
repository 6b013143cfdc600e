"""The target directory: whose it is, what is whole in it, and what a new run leaves of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modcore.errors import CheckpointError, ModcoreError
from modcore.training.checkpoints import RECORD, Target, fingerprint_of

RUN = {"base": "a", "trainset": "b", "method": {"kind": "full"}}
OTHER = {**RUN, "trainset": "c"}


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path / "target")


def begin(target: Target, run: dict[str, object] = RUN) -> Path | None:
    with target.locked():
        return target.begin(run)


def write_checkpoint(target: Target, step: int, state: str | None = None) -> Path:
    directory = target.path / f"checkpoint-{step}"
    directory.mkdir()
    (directory / "trainer_state.json").write_text(state or json.dumps({"global_step": step}))
    return directory


def write_result(
    target: Target, names: tuple[str, ...] = ("config.json", "model.safetensors")
) -> None:
    target.unfinished.mkdir()
    for name in names:
        (target.unfinished / name).write_text("{}")


def publish(target: Target, run: dict[str, object] = RUN) -> None:
    begin(target, run)
    write_result(target)
    target.publish(run)


def test_a_new_and_an_empty_directory_are_fine(target: Target) -> None:
    target.verify()
    target.path.mkdir()
    target.verify()
    assert not target.is_finished


def test_what_is_not_ours_is_refused(target: Target) -> None:
    target.path.mkdir()
    (target.path / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="holds files that no training of modcore wrote"):
        target.verify()
    with pytest.raises(CheckpointError, match="is a file"):
        Target(target.path / "thesis.tex").verify()


def test_a_run_that_died_while_it_wrote_its_first_record_has_not_made_the_directory_foreign(
    target: Target,
) -> None:
    target.path.mkdir()
    (target.path / f"{RECORD}.new").write_text('{"fing')
    target.verify()
    assert begin(target) is None


def test_the_newest_complete_checkpoint_is_gone_on_from_and_half_written_ones_go(
    target: Target,
) -> None:
    assert begin(target) is None
    write_checkpoint(target, 9)
    newest = write_checkpoint(target, 10)
    half = write_checkpoint(target, 11, '{"global_step": 1')
    empty = target.path / "checkpoint-12"
    empty.mkdir()
    assert begin(target) == newest
    assert not half.exists()
    assert not empty.exists()


def test_another_run_begins_anew_and_leaves_what_is_not_ours(target: Target) -> None:
    publish(target)
    write_checkpoint(target, 3)
    (target.path / "notes.txt").write_text("mine")
    assert begin(target, OTHER) is None
    assert {entry.name for entry in target.path.iterdir()} == {RECORD, "notes.txt"}


def test_a_published_result_is_whole_and_the_checkpoints_are_gone(target: Target) -> None:
    begin(target)
    write_checkpoint(target, 3)
    write_result(target)
    assert not target.holds(RUN)
    target.publish(RUN)
    assert target.holds(RUN)
    assert not target.holds(OTHER)
    assert {entry.name for entry in target.path.iterdir()} == {
        "config.json",
        "model.safetensors",
        RECORD,
    }


@pytest.mark.parametrize("moves", [0, 1])
def test_a_result_that_was_interrupted_on_its_way_is_not_whole(
    target: Target, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(target)
    checkpoint = write_checkpoint(target, 3)
    write_result(target)
    replace, done = Path.replace, []

    def interrupted(self: Path, there: Path) -> Path:
        if there.name != RECORD:
            if len(done) == moves:
                raise KeyboardInterrupt
            done.append(there)
        return replace(self, there)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        target.publish(RUN)
    monkeypatch.undo()
    assert not target.is_finished
    assert not (target.path / "config.json").exists()  # so nothing takes it for a checkpoint
    assert begin(target) == checkpoint


def test_a_result_that_lost_a_file_is_not_whole(target: Target) -> None:
    publish(target)
    (target.path / "model.safetensors").unlink()
    assert not target.holds(RUN)


def test_two_trainings_of_one_target_are_kept_apart(target: Target) -> None:
    with (
        target.locked(),
        pytest.raises(ModcoreError, match="Another training writes to"),
        target.locked(),
    ):
        pass
    with target.locked():
        pass


def test_a_record_cannot_name_files_outside(target: Target, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    publish(target)
    record = json.loads((target.path / RECORD).read_text())
    (target.path / RECORD).write_text(json.dumps({**record, "files": ["../mine.txt", str(mine)]}))
    begin(target, OTHER)
    assert mine.exists()


def test_the_fingerprint_changes_with_base_trainset_and_method(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = fingerprint_of(tmp_path, "rows", {"kind": "full"})
    assert first == fingerprint_of(tmp_path, "rows", {"kind": "full"})
    assert first != fingerprint_of(tmp_path, "other rows", {"kind": "full"})
    assert first != fingerprint_of(tmp_path, "rows", {"kind": "lora"})
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    assert first != fingerprint_of(tmp_path, "rows", {"kind": "full"})
