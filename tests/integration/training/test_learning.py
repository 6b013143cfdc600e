"""A module learns a table: the metric rises, and the result is an ordinary checkpoint."""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import reference
from modcore.errors import CheckpointError, InvalidRequest, MissingExtra, ModcoreError, ServiceError
from modcore.training import TrainableModule, perplexity
from modcore.training.checkpoints import RECORD

from .conftest import EVALSET, ROWS, names_in

RESULT = {
    RECORD,
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
FULL = {"learning_rate": 3e-3, "num_train_epochs": 40}
LORA = {"learning_rate": 5e-3, "num_train_epochs": 60, "r": 16, "lora_alpha": 32}
QUICK = {"max_steps": 2}


def module(base: Path, target: Path, rows: Any = ROWS) -> TrainableModule:
    made = TrainableModule(base, target).trainset(rows)
    made.evalset(EVALSET, metrics=["exact_match"])
    return made


@pytest.mark.parametrize(("kind", "options"), [("full", FULL), ("lora", LORA)])
def test_the_metric_rises(base: Path, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    learner = module(base, tmp_path / "target").finetune_method(kind, **options)
    learner.start().eval()
    assert learner.eval_report is not None
    before, surprised = learner.eval_report.scores["exact_match"], perplexity(learner, EVALSET)
    learner.update()
    assert before < 0.2
    assert learner.eval_report.scores["exact_match"] > 0.9
    assert perplexity(learner, ROWS) < 1.2 < surprised
    assert names_in(tmp_path / "target") == RESULT
    assert learner([{"role": "user", "content": ROWS[0]["prompt"]}]).strip() == ROWS[0]["response"]
    learner.stop()


def test_a_jsonl_file_is_learnt_like_the_rows_in_it(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    for name, rows in (("list", ROWS), ("file", str(file))):
        module(base, tmp_path / name, rows).finetune_method("full", **QUICK).skip("eval").update()
    assert same_weights(tmp_path / "list", tmp_path / "file")


def test_a_result_is_not_trained_again_until_something_changes(base: Path, tmp_path: Path) -> None:
    def train(learning_rate: float) -> int:
        learner = module(base, tmp_path / "target")
        learner.finetune_method("full", learning_rate=learning_rate, **QUICK).skip(
            "deploy", "eval"
        ).update()
        return (tmp_path / "target" / "model.safetensors").stat().st_ino

    first = train(1e-3)
    assert train(1e-3) == first
    before = reference(tmp_path / "target").state_dict()
    train(1e-2)
    after = reference(tmp_path / "target").state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_result_keeps_the_type_of_the_bases_weights(write_bfloat16: Path, tmp_path: Path) -> None:
    for kind in ("full", "lora"):
        learner = TrainableModule(write_bfloat16, tmp_path / kind).trainset(ROWS[:4])
        learner.finetune_method(kind, **QUICK).update()
        saved = reference(tmp_path / kind, dtype="auto").state_dict()  # type: ignore[arg-type]
        assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}


# PEFT itself, when the test loads the adapter with it.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_an_adapter_by_itself_is_kept_and_not_deployed(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    learner = TrainableModule(base, tmp_path / "target").trainset(ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        learner.finetune_method("lora", merge=False, **QUICK).update()
    assert learner.state.deploy == "none"
    with pytest.raises(ServiceError, match="train with merge=True"):
        learner("reverse apple")
    PeftModel.from_pretrained(reference(base), tmp_path / "target")


def test_a_module_without_a_trainset_serves_its_base(base: Path) -> None:
    plain = TrainableModule(base)
    with pytest.raises(ServiceError, match=r"call update\(\) or start\(\) first"):
        plain("follow apple")
    plain.update()
    assert plain.state.train == "none"
    assert isinstance(plain("follow apple", max_tokens=3), str)
    plain.stop()
    with pytest.raises(ServiceError):
        plain("follow apple")


def test_the_bars_and_the_callers_random_numbers_are_left_alone(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    random.seed(7)
    torch.manual_seed(7)
    expected = [random.random(), torch.rand(1).item()]
    random.seed(7)
    torch.manual_seed(7)
    module(base, tmp_path / "target").finetune_method("full", **QUICK).skip("eval").update()
    assert [random.random(), torch.rand(1).item()] == expected
    assert capfd.readouterr().out == ""


def test_what_is_missing_is_said(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="nothing to learn from"):
        TrainableModule(base, tmp_path / "target").finetune_method("full").update()
    with pytest.raises(InvalidRequest, match="give TrainableModule a target_path"):
        TrainableModule(base).trainset(ROWS).update()
    with pytest.raises(CheckpointError, match="no checkpoint directory"):
        TrainableModule(tmp_path / "none", tmp_path / "target").trainset(ROWS).update()


def test_a_target_that_is_not_ours_is_refused_untouched(base: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    learner = module(base, tmp_path)
    with pytest.raises(CheckpointError, match="no training of modcore wrote"):
        learner.update()
    assert learner.state.train == "failed"
    assert names_in(tmp_path) == {"thesis.tex"}
    with pytest.raises(CheckpointError, match="base model's own directory"):
        module(base, base).update()


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("full", {"lr_scheduler_type": "zigzag"}, "transformers refuses these options"),
        ("lora", {"r": -1}, "has to be 1 or more"),
        ("lora", {"target_modules": ["no_such_proj"]}, "PEFT refuses these options"),
    ],
)
def test_a_value_that_is_refused_leaves_an_earlier_result(
    base: Path, tmp_path: Path, kind: str, options: dict[str, Any], words: str
) -> None:
    learner = module(base, tmp_path / "target").skip("eval")
    learner.finetune_method("full", **QUICK).update()
    with pytest.raises(InvalidRequest, match=words):
        learner.finetune_method(kind, **options).update()
    assert names_in(tmp_path / "target") == RESULT


def test_a_base_that_is_not_whole_or_not_safetensors_is_refused(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "base"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks the weight model\.layers\.0\.mlp\.up_proj"):
        module(broken, tmp_path / "target").update()
    torch.save(load_file(base / "model.safetensors"), broken / "pytorch_model.bin")
    (broken / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="transformers cannot train"):
        module(broken, tmp_path / "target").update()


def test_a_generation_config_that_transformers_calls_inconsistent_is_kept(
    base: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "base"
    shutil.copytree(base, odd)
    settings = {"temperature": 0.6, "top_p": 0.9, "do_sample": False, "eos_token_id": 1}
    (odd / "generation_config.json").write_text(json.dumps(settings))
    for kind in ("full", "lora"):
        learner = module(odd, tmp_path / kind).skip("eval")
        learner.finetune_method(kind, save_steps=1, **QUICK).update()
        kept = json.loads((tmp_path / kind / "generation_config.json").read_text())
        assert settings.items() <= kept.items()


def test_a_row_that_does_not_fit_is_named_before_anything_is_trained(
    base: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match=r"row 2: .* too many for a context of 512"):
        module(
            base, tmp_path / "target", [ROWS[0], {"prompt": "a", "response": "b c " * 600}]
        ).update()
    assert names_in(tmp_path / "target") == set()


def test_a_training_that_diverges_gives_no_result(base: Path, tmp_path: Path) -> None:
    learner = module(base, tmp_path / "target")
    learner.finetune_method("full", learning_rate=1e30, max_steps=3, max_grad_norm=0.0)
    with pytest.raises(ModcoreError, match="Train with a smaller learning_rate"):
        learner.update()
    assert not (tmp_path / "target" / "config.json").exists()


def test_wrong_calls_are_refused(base: Path) -> None:
    plain = TrainableModule(base).start()
    with pytest.raises(InvalidRequest, match="did you mean 'temperature'"):
        plain("follow apple", temprature=1)
    with pytest.raises(InvalidRequest, match="The prompt is an int"):
        plain(3)
    with pytest.raises(InvalidRequest, match="no row"):
        perplexity(plain, [])
    with pytest.raises(InvalidRequest, match="row 1: the prompt is None"):
        perplexity(plain, [{"expected": "a"}])


def test_training_without_the_extra_names_the_line_that_installs_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtra, match=r"pip install 'modcore\[train\]'"):
        module(base, tmp_path / "target").update()


def test_a_copy_of_a_deployed_module_leaves_the_engine_behind(base: Path) -> None:
    plain = TrainableModule(base).start()
    other = copy.copy(plain)
    with pytest.raises(ServiceError):
        other("follow apple")
    other.start()
    assert other("follow apple", max_tokens=4) == plain("follow apple", max_tokens=4)


def same_weights(one: Path, other: Path) -> bool:
    first, second = reference(one).state_dict(), reference(other).state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.fixture(scope="session")
def write_bfloat16(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bfloat16") / "base"
    shutil.copytree(base, directory)
    reference(base, dtype=torch.bfloat16).save_pretrained(directory)
    return directory
