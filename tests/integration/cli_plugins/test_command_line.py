"""Exit codes, suggestions, tracebacks on request, and a reader that goes away."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from modcore._version import VERSION
from modcore.cli import COMMANDS
from plugin_sites import CommandLine, Site


def test_no_command_shows_the_commands_with_exit_code_2(modcore: CommandLine) -> None:
    done = modcore.run()

    assert done.returncode == 2
    assert "list-plugins" in done.stdout


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_shows_the_commands_with_exit_code_0(modcore: CommandLine, word: str) -> None:
    done = modcore.run(word)

    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "explain", "generate", "list-plugins", "serve"):
        assert f"  {command} " in done.stdout


@pytest.mark.parametrize("words", [(), *((command,) for command in COMMANDS)], ids=str)
def test_help_fits_a_terminal_of_80_columns_and_has_no_colours_in_a_pipe(
    modcore: CommandLine, words: tuple[str, ...]
) -> None:
    done = modcore.run(*words, "--help", COLUMNS="80")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert done.stdout.replace("\n", "").isprintable()
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


def test_version_is_the_cores(modcore: CommandLine) -> None:
    assert modcore.run("--version").stdout == f"modcore {VERSION}\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["lis-plugins"], "unknown command 'lis-plugins'; did you mean 'list-plugins'?"),
        (["--debgu", "list-plugins"], "unknown option --debgu; did you mean --debug by --debgu?"),
        (
            ["list-plugins", "--jsno"],
            "unrecognized arguments: --jsno; did you mean --json by --jsno?",
        ),
        (
            ["list-plugins", "--gruop=weights"],
            "unrecognized arguments: --gruop=weights; did you mean --group by --gruop?",
        ),
        (
            ["explain", "--jsno"],
            "the following arguments are required: CHECKPOINT; did you mean --json by --jsno?",
        ),
        (["list-plugins", "--js"], "unrecognized arguments: --js; did you mean --json by --js?"),
        (["list-plugins", "more"], "unrecognized arguments: more"),
    ],
)
def test_a_wrong_word_is_one_sentence_with_a_suggestion_and_exit_code_2(
    modcore: CommandLine, words: list[str], error: str
) -> None:
    done = modcore.run(*words)

    assert (done.returncode, done.stdout) == (2, "")
    sentence, see = done.stderr.splitlines()
    assert sentence == f"error: {error}"
    assert see.startswith("See: modcore")
    assert see.endswith("--help")


def test_a_command_that_resembles_none_lists_them_all(modcore: CommandLine) -> None:
    done = modcore.run("xyzzy")

    assert done.returncode == 2
    assert "unknown command 'xyzzy'; commands: bench, demo, deploy, explain, " in done.stderr


def test_an_error_shows_a_traceback_with_debug_only_and_the_same_exit_code(
    modcore: CommandLine, tmp_path: Path
) -> None:
    plain = modcore.run("explain", tmp_path / "nowhere")
    debugged = modcore.run("--debug", "explain", tmp_path / "nowhere")
    wrong_value = modcore.run("--debug", "list-plugins", "--group", "xyzzy")

    assert "Traceback" not in plain.stderr
    assert "Traceback (most recent call last)" in debugged.stderr
    assert debugged.stderr.endswith(plain.stderr)
    assert (plain.returncode, debugged.returncode, wrong_value.returncode) == (1, 1, 2)


@pytest.mark.parametrize(
    "words", ["list-plugins", "list-plugins --json", "--help", "explain --help"]
)
def test_a_reader_that_goes_away_is_no_error_worth_a_word(
    site: Site, modcore: CommandLine, words: str
) -> None:
    modules = {f"test.m{number}": "alpha:Thing" for number in range(2000)}
    site.install("alpha", entry_points={"modcore.modules": modules})
    process = subprocess.Popen(
        [modcore.python, "-m", "modcore", *words.split()],
        env=modcore.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()

    _, err = process.communicate(timeout=60)

    assert err == b""


def test_the_installed_script_is_the_same_command_line(everything: CommandLine) -> None:
    script = Path(everything.python).parent / "modcore"

    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, f"modcore {VERSION}\n")
