"""Conflicts, and the allow and deny lists, as somebody at a shell meets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_sites import CommandLine, Site

Checkpoint = Callable[..., Path]


@pytest.fixture(autouse=True)
def rivals(site: Site) -> None:
    for name in ("alpha-one", "beta"):
        architectures = {"SharedLM": "m:SharedLM", f"{name.title().replace('-', '')}LM": "m:OwnLM"}
        site.install(name, entry_points={"modcore.text_models": architectures})


def test_a_taken_architecture_is_shown_twice_refused_with_both_named_and_cured_by_denying_one(
    modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    shared = checkpoint(architectures=["SharedLM"])

    listed = {(e["dist"], e["id"]): e["status"] for e in modcore.plugins()}
    assert listed == {
        ("alpha-one", "SharedLM"): "duplicate",
        ("beta", "SharedLM"): "duplicate",
        ("alpha-one", "AlphaOneLM"): "ok",
        ("beta", "BetaLM"): "ok",
    }

    refused = modcore.run("explain", shared)
    assert refused.returncode == 1
    assert "candidate: SharedLM from alpha-one 1.0" in refused.stdout
    assert "candidate: SharedLM from beta 1.0" in refused.stdout
    assert "hint: More than one package serves this checkpoint: alpha-one 1.0" in refused.stdout

    cured = modcore.run("explain", shared, MODCORE_DISABLE_PLUGINS="Alpha_One")
    assert cured.returncode == 0
    assert "match: SharedLM from beta 1.0" in cured.stdout


def test_a_taken_architecture_does_not_disturb_the_rivals_other_models(
    modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    done = modcore.run("explain", checkpoint(architectures=["BetaLM"]))

    assert (done.returncode, done.stderr) == (0, "")
    assert "match: BetaLM from beta 1.0" in done.stdout


@pytest.mark.parametrize("words", [["list-plugins"], ["explain", "."], ["unknown-command"]])
@pytest.mark.parametrize("variable", ["MODCORE_PLUGINS", "MODCORE_DISABLE_PLUGINS"])
def test_an_unknown_name_in_a_list_is_one_sentence_and_exit_code_1(
    modcore: CommandLine, checkpoint: Checkpoint, words: list[str], variable: str
) -> None:
    words = [str(checkpoint(architectures=["BetaLM"])) if word == "." else word for word in words]

    done = modcore.run(*words, **{variable: "alpha-won"})

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {variable} names 'alpha-won', which is not an installed plugin; "
        "did you mean alpha-one?\n"
    )


def test_an_empty_allow_list_leaves_only_the_core(modcore: CommandLine) -> None:
    plugins = modcore.json("list-plugins", MODCORE_PLUGINS="")["plugins"]

    assert {(entry["dist"], entry["status"]) for entry in plugins} == {
        ("alpha-one", "blocked"),
        ("beta", "blocked"),
        ("modcore", "ok"),
    }


def test_denying_the_core_is_one_sentence_and_exit_code_1(modcore: CommandLine) -> None:
    done = modcore.run("list-plugins", MODCORE_DISABLE_PLUGINS="modcore")

    assert done.returncode == 1
    assert "names modcore itself, which cannot be disabled" in done.stderr


def test_an_older_copy_further_down_the_path_is_listed_once_and_not_as_a_rival(
    core_python: str, site: Site, tmp_path: Path
) -> None:
    older = Site(tmp_path / "older")
    older.install("beta", "0.9", entry_points={"modcore.text_models": {"BetaLM": "m:OldLM"}})
    modcore = CommandLine(core_python, [site.path, older.path])

    betas = [entry for entry in modcore.plugins() if entry["id"] == "BetaLM"]

    assert [(entry["version"], entry["status"]) for entry in betas] == [("1.0", "ok")]
