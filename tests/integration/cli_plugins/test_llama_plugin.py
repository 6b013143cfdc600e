"""modcore-llama as it is installed here: found, matched, denied, checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_sites import CommandLine

Checkpoint = Callable[..., Path]
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def test_its_models_weights_infer_layers_and_hooks_are_listed(everything: CommandLine) -> None:
    llama = {
        (entry["group"], entry["id"]): entry["status"]
        for entry in everything.plugins()
        if entry["dist"] == "modcore-llama"
    }

    assert set(llama.values()) == {"ok"}
    assert {("modcore.text_models", f"{name}ForCausalLM") for name in ("Llama", "Mistral")} < set(
        llama
    )
    assert {group for group, _ in llama} == {
        "modcore",
        "modcore.text_models",
        "modcore.weights",
        "modcore.infer_layers",
    }


@pytest.mark.parametrize(
    ("config", "id"),
    [
        (LLAMA, "LlamaForCausalLM"),
        ({"architectures": ["MistralForCausalLM"]}, "MistralForCausalLM"),
        ({"model_type": "llama"}, "LlamaForCausalLM"),
        ({"model_type": "mistral"}, "MistralForCausalLM"),
    ],
)
def test_its_checkpoints_are_matched(
    everything: CommandLine, checkpoint: Checkpoint, config: dict[str, object], id: str
) -> None:
    explained = everything.json("explain", checkpoint(**config))

    assert (explained["chosen"]["dist"], explained["chosen"]["id"]) == ("modcore-llama", id)
    assert explained["chosen"] in explained["matches"]


@pytest.mark.parametrize(
    "switch", [{"MODCORE_DISABLE_PLUGINS": "Modcore_Llama"}, {"MODCORE_PLUGINS": ""}]
)
@pytest.mark.parametrize("config", [LLAMA, {"model_type": "llama"}])
def test_a_checkpoint_when_it_is_denied_names_it_as_installed_but_blocked(
    everything: CommandLine,
    checkpoint: Checkpoint,
    config: dict[str, object],
    switch: dict[str, str],
) -> None:
    explained = everything.json("explain", checkpoint(**config), **switch)

    assert explained["chosen"] is None
    assert "modcore-llama" in explained["hint"]
    assert "is installed and serves" in explained["hint"]
    assert "but is blocked" in explained["hint"]
    assert "pip install" not in explained["hint"]


def test_generating_with_a_denied_plugin_is_one_sentence_that_says_so(
    everything: CommandLine, checkpoint: Checkpoint
) -> None:
    done = everything.run(
        "generate",
        checkpoint(**LLAMA),
        "--prompt",
        "hello",
        MODCORE_DISABLE_PLUGINS="modcore-llama",
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "is installed and serves LlamaForCausalLM, but is blocked" in done.stderr
    assert "Traceback" not in done.stderr


def test_its_entries_when_checked_are_all_usable(everything: CommandLine) -> None:
    done = everything.run("list-plugins", "--check")

    assert (done.returncode, done.stderr) == (0, "")
