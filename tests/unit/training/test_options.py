"""Methods and their options: where each belongs, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from modcore.errors import InvalidRequest, MissingExtra
from modcore.training import TrainableModule
from modcore.training.options import Method, need_train_extra


def test_options_are_sorted_by_who_knows_their_names() -> None:
    method = Method.from_options(
        "lora", {"learning_rate": 1e-3, "r": 4, "target_modules": {"v_proj", "q_proj"}}
    )
    assert method.training == {"learning_rate": 1e-3}
    assert method.lora == {"r": 4, "target_modules": ["q_proj", "v_proj"]}
    assert method.merge


def test_values_of_every_type_that_the_packages_take_are_let_through() -> None:
    training = {"learning_rate": 1, "neftune_noise_alpha": None, "lr_scheduler_type": "linear"}
    lora = {"lora_alpha": 16.5, "layers_to_transform": [1], "init_lora_weights": True}
    method = Method.from_options("lora", {**training, **lora})
    assert (method.training, method.lora) == (training, lora)


def test_an_adapter_by_itself_and_an_evaluation_set_are_refused_before_anything_is_trained() -> (
    None
):
    module = TrainableModule("base", "target").finetune_method("lora", merge=False)
    with pytest.raises(InvalidRequest, match=r'merge=True, or say skip\("eval"\) first'):
        module.evalset(["a"])
    other = TrainableModule("base", "target")
    other.evalset(["a"])
    with pytest.raises(InvalidRequest, match="nothing to evaluate"):
        other.finetune_method("lora", merge=False)
    assert other._method is None
    other.skip("eval").finetune_method("lora", merge=False)
    with pytest.raises(InvalidRequest, match="nothing to evaluate"):
        other.skip().trainset([{"prompt": "a", "response": "b"}])._train()


def test_a_lora_is_kept_apart_when_merge_is_false() -> None:
    assert not Method.from_options("lora", {"merge": False}).merge


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("lorra", {}, "did you mean 'lora'?"),
        ("qlora", {}, "did you mean 'lora'?"),
        ("x", {}, "there are full, lora"),
        ("full", {"learning_rat": 1}, "did you mean 'learning_rate'?"),
        ("lora", {"lora_alpa": 1}, "did you mean 'lora_alpha'?"),
        ("lora", {"merged": True}, "did you mean 'merge'?"),
        ("full", {"r": 4}, "an option of the method 'lora', not of 'full'"),
        ("full", {"merge": True}, "an option of the method 'lora'"),
        ("lora", {"merge": "yes"}, "True or False"),
        ("full", {"zzzzzz": 1}, "those of TrainingArguments"),
        ("full", {"output_dir": "x"}, "the result goes to target_path"),
        ("full", {"push_to_hub": True}, "uploads nothing"),
        ("full", {"hub_token": "x"}, "uploads nothing"),
        ("full", {"eval_strategy": "steps"}, "use evalset"),
        ("full", {"optim_args": object()}, "it has to be text, a number"),
        ("full", {"learning_rate": "x"}, "learning_rate is 'x'; it has to be a number"),
        ("full", {"max_steps": None}, "max_steps is None; it has to be a number"),
        ("full", {"bf16": "yes"}, "bf16 is 'yes'; it has to be True or False"),
        ("lora", {"r": "8"}, "r is '8'; it has to be a number"),
    ],
)
def test_a_wrong_option_is_refused_with_what_to_do(
    kind: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Method.from_options(kind, options)
    assert words in str(caught.value)


@pytest.mark.parametrize(("kind", "package"), [("full", "accelerate"), ("lora", "peft")])
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    kind: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=rf"needs {package}.*pip install 'modcore\[train\]'"):
        need_train_extra(kind)


def test_full_training_needs_no_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    need_train_extra("full")
    with pytest.raises(InvalidRequest, match="no option 'r'"):
        Method.from_options("full", {"r": 4})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_train_epochs": 0}, "num_train_epochs is 0; it has to be above 0"),
        ({"num_train_epochs": -1}, "above 0"),
        ({"max_steps": 0}, "max_steps is 0; it has to be above 0, or -1 for none"),
        ({"max_steps": -2}, "above 0, or -1"),
        ({"max_steps": 2.5}, "max_steps is 2.5; it has to be a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it has to be a finite number"),
        ({"learning_rate": float("inf")}, "a finite number"),
        ({"learning_rate": True}, "a number"),
        ({"learning_rate": 0}, "above 0"),
        ({"per_device_train_batch_size": 0}, "1 or more"),
        ({"per_device_train_batch_size": 1.5}, "a whole number"),
    ],
)
def test_options_with_which_nothing_can_be_learnt_are_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Method.from_options("full", options)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", [None, 5, ["full"]])
def test_a_method_that_is_no_text_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidRequest, match="There is no finetune method"):
        TrainableModule("base").finetune_method(kind)


@pytest.mark.parametrize("given", [(5,), (None,), ("",), ("base", 5), (b"base",)])
def test_what_is_no_path_is_refused_at_once(given: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidRequest, match="it has to be the path of a directory"):
        TrainableModule(*given)
