"""Plugins that misbehave disturb neither listing, nor explaining what does not need them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_sites import CommandLine, Site

Checkpoint = Callable[..., Path]
MISBEHAVIOUR = {
    "raises": "raise RuntimeError('no\\nreally')",
    "syntax": "def broken(:",
    "exits": "import sys; sys.exit(3)",
    "kills": "import os; os._exit(9)",
    "prints": "print('{not json')",
    "sleeps": "import time; time.sleep(600)",
    "needs": "import no_such_module",
}


@pytest.fixture
def crowd(site: Site) -> Site:
    """One plugin of each kind of misbehaviour, in a hook module and in a model, and a good one."""
    for name, source in MISBEHAVIOUR.items():
        site.install(
            name,
            entry_points={
                "modcore": {name: f"{name}_hooks"},
                "modcore.text_models": {f"{name.title()}LM": f"{name}_hooks:Model"},
            },
            modules={f"{name}_hooks": source},
        )
    site.install("unreadable", entry_points="[modcore.weights]\nnonsense\n")
    site.install("misspelt", entry_points={"modcore.text_model": {"MisspeltLM": "misspelt:LM"}})
    site.install("good", entry_points={"modcore.text_models": {"GoodLM": "good:GoodLM"}})
    return site


@pytest.mark.usefixtures("crowd")
def test_list_plugins_among_them_is_quiet_and_says_what_metadata_tells(
    modcore: CommandLine,
) -> None:
    done = modcore.run("list-plugins")
    statuses = {entry["dist"]: entry["status"] for entry in modcore.plugins()}

    assert (done.returncode, done.stderr) == (0, "")
    assert statuses == {
        **dict.fromkeys(MISBEHAVIOUR, "ok"),
        "unreadable": "broken",
        "misspelt": "broken",
        "good": "ok",
    }


@pytest.mark.usefixtures("crowd")
def test_explain_among_them_for_a_model_of_another_plugin_is_quiet(
    modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    done = modcore.run("explain", checkpoint(architectures=["GoodLM"]), "--json")

    assert (done.returncode, done.stderr) == (0, "")


def test_explain_when_hooks_have_to_be_asked_reports_each_in_one_line_and_answers(
    crowd: Site, modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    crowd.install(
        "matcher",
        entry_points={"modcore": {"m": "matcher_hooks"}, "modcore.text_models": {"MLM": "m:MLM"}},
        modules={
            "matcher_hooks": """
            from modcore.plugins import ModelMatch, hookimpl

            @hookimpl
            def modcore_match_model(config):
                return ModelMatch("MLM", "the type is m") if config["model_type"] == "m" else None
            """
        },
    )

    # Nothing survives os._exit: such a plugin has to be denied.
    done = modcore.run(
        "explain",
        checkpoint(model_type="m"),
        MODCORE_DISABLE_PLUGINS="kills",
        MODCORE_PLUGIN_TIMEOUT="0.3",
    )

    assert done.returncode == 0
    assert "match: MLM from matcher 1.0 (the type is m)" in done.stdout
    assert "{not json" not in done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith("modcore: ")]
    for name, cause in {
        "raises": "RuntimeError: no",
        "syntax": "SyntaxError: invalid syntax",
        "exits": "SystemExit: 3",
        "sleeps": "still importing after 0.3 s",
        "needs": "No module named 'no_such_module'",
        "unreadable": "entry_points.txt of unreadable cannot be read",
    }.items():
        (line,) = [line for line in complaints if f"plugin {name} 1.0" in line]
        assert cause in line
        assert "pip " in line
    assert len(complaints) == 6


def test_json_of_explain_when_a_plugin_prints_in_its_hooks_stays_json(
    site: Site, modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    site.install_hooks(
        "alpha",
        """
        import os, subprocess, sys

        from modcore.plugins import hookimpl

        print("at import")
        sys.stdout.flush()
        os.write(1, b"below Python\\n")
        subprocess.run([sys.executable, "-c", "print('in a child')"])

        @hookimpl
        def modcore_match_model(config):
            print("in the hook")
        """,
    )

    done = modcore.run("explain", checkpoint(model_type="unheard_of"), "--json")

    assert done.stdout.startswith("{\n")
    assert done.stdout.endswith("}\n")
    assert done.stderr == "at import\nbelow Python\nin a child\nin the hook\n"


@pytest.mark.parametrize("name", ["raises", "syntax", "exits", "needs"])
def test_a_failing_plugin_when_strict_is_an_error(
    site: Site, modcore: CommandLine, checkpoint: Checkpoint, name: str
) -> None:
    site.install_hooks(name, MISBEHAVIOUR[name])

    done = modcore.run("explain", checkpoint(model_type="m"), MODCORE_STRICT_PLUGINS="1")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: plugin {name} 1.0 is broken: ")
    assert "Traceback" not in done.stderr


def test_a_timeout_that_is_no_number_is_one_sentence(
    site: Site, modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    site.install_hooks("alpha", "")

    done = modcore.run("explain", checkpoint(model_type="m"), MODCORE_PLUGIN_TIMEOUT="soon")

    assert done.returncode == 1
    assert done.stderr == (
        "error: MODCORE_PLUGIN_TIMEOUT='soon' is not a number of seconds; correct or unset it.\n"
    )
