"""What ``modcore explain`` prints, and the exit code it ends with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_sites import CommandLine, Site

Checkpoint = Callable[..., Path]
HOOKS = """
from modcore.plugins import ModelMatch, hookimpl

@hookimpl
def modcore_match_model(config):
    if config.get("model_type") == "alpha":
        return ModelMatch("AlphaLM", "alpha is our type")
    if "alpha_heads" in config:
        return ModelMatch("AlphaLM", "it has alpha heads", "predicate")
"""


@pytest.fixture(autouse=True)
def alpha(site: Site) -> None:
    site.install(
        "alpha",
        "2.3",
        entry_points={
            "modcore": {"alpha": "alpha_hooks"},
            "modcore.text_models": {"AlphaLM": "alpha_model:AlphaLM", "AlphaXL": "alpha_model:XL"},
        },
        modules={"alpha_hooks": HOOKS, "alpha_model": "raise AssertionError('imported')"},
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architectures": ["AlphaLM"]}, "config.json names the architecture AlphaLM"),
        ({"model_type": "alpha"}, "alpha is our type"),
        ({"model_type": "beta", "alpha_heads": 3}, "it has alpha heads"),
    ],
)
def test_a_chosen_model_in_json_has_its_provenance_and_reason_and_the_exit_code_is_0(
    modcore: CommandLine, checkpoint: Checkpoint, config: dict[str, object], reason: str
) -> None:
    directory = checkpoint(**config)
    match = {"dist": "alpha", "version": "2.3", "id": "AlphaLM", "reason": reason}

    assert modcore.json("explain", directory) == {
        "architectures": config.get("architectures", []),
        "model_type": config.get("model_type"),
        "matches": [match],
        "chosen": match,
        "hint": None,
        "variants": [],
    }
    assert modcore.run("explain", directory).returncode == 0


def test_a_chosen_model_for_people_shows_what_matched_what_did_not_and_why(
    modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    done = modcore.run("explain", checkpoint(architectures=["AlphaLM"], model_type="alpha"))

    assert done.stdout.splitlines() == [
        "architectures: AlphaLM",
        "model_type: alpha",
        "match: AlphaLM from alpha 2.3 (config.json names the architecture AlphaLM)",
        "no match: AlphaXL (alpha 2.3): config.json names AlphaLM",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_tie_in_json_has_both_matches_none_chosen_and_exit_code_1(
    site: Site, modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    site.install("beta", entry_points={"modcore.text_models": {"AlphaLM": "beta:AlphaLM"}})
    directory = checkpoint(architectures=["AlphaLM"])

    tie = modcore.json("explain", directory)

    assert [match["dist"] for match in tie["matches"]] == ["alpha", "beta"]
    assert tie["chosen"] is None
    assert "alpha 2.3 (AlphaLM) and beta 1.0 (AlphaLM)" in tie["hint"]
    assert modcore.run("explain", directory).returncode == 1


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        (
            {"architectures": ["LlamaForCausalLM"]},
            "Install the package that serves LlamaForCausalLM: pip install modcore-llama",
        ),
        (
            {"architectures": ["MistralForCausalLM"], "model_type": "mistral"},
            "Install the package that serves MistralForCausalLM: pip install modcore-llama",
        ),
        (
            {"model_type": "llama"},
            "Install the package that serves llama: pip install modcore-llama",
        ),
        ({"architectures": ["UnheardOfLM"]}, "write a plugin"),
        ({"model_type": "unheard_of"}, "write a plugin"),
        ({}, "config.json names neither architectures nor model_type"),
    ],
)
def test_a_model_that_nobody_serves_gets_a_hint_and_exit_code_1(
    modcore: CommandLine, checkpoint: Checkpoint, config: dict[str, object], hint: str
) -> None:
    directory = checkpoint(**config)

    explained = modcore.json("explain", directory)
    shown = modcore.run("explain", directory)

    assert (explained["matches"], explained["chosen"]) == ([], None)
    assert hint in explained["hint"]
    assert shown.returncode == 1
    assert f"hint: {explained['hint']}" in shown.stdout.splitlines()


def test_a_plugin_that_is_denied_is_named_as_that(
    modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    directory = checkpoint(architectures=["AlphaLM"])

    explained = modcore.json("explain", directory, MODCORE_DISABLE_PLUGINS="alpha")

    assert explained["chosen"] is None
    assert explained["hint"].startswith(
        "alpha 2.3 is installed and serves AlphaLM, but is blocked: "
        "denied by MODCORE_DISABLE_PLUGINS"
    )


def test_a_plugin_that_does_not_fit_the_core_is_named_as_that_without_an_import(
    site: Site, modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    site.install(
        "newer",
        requires=["modcore[engine]>=7"],
        entry_points={"modcore.text_models": {"NewerLM": "newer_model:NewerLM"}},
        modules={"newer_model": "raise AssertionError('imported')"},
    )

    explained = modcore.json("explain", checkpoint(architectures=["NewerLM"]))

    assert explained["chosen"] is None
    assert "newer 1.0 is installed and serves NewerLM, but is incompatible" in explained["hint"]
    assert "needs modcore[engine]>=7" in explained["hint"]
