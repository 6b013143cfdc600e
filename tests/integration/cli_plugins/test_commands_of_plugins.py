"""A plugin adds commands to the command line, as long as their names are free."""

from __future__ import annotations

import pytest

from plugin_sites import CommandLine, Site


def adding(name: str, run: str = "print(args.who, args.loud)") -> str:
    return f"""
    from modcore.plugins import hookimpl
    from modcore.plugins.commands import Command

    def add_arguments(parser):
        parser.add_argument("who")
        parser.add_argument("--loud", action="store_true")

    def run(args):
        {run}
        return 4

    @hookimpl
    def modcore_register_commands(cli):
        cli.add(Command({name!r}, "Greets somebody.", add_arguments, run))
    """


def test_an_added_command_runs_with_its_options_and_its_exit_code(
    site: Site, modcore: CommandLine
) -> None:
    site.install_hooks("alpha", adding("greet"))

    done = modcore.run("greet", "world", "--loud")

    assert (done.returncode, done.stdout, done.stderr) == (4, "world True\n", "")


def test_an_added_command_explains_itself(site: Site, modcore: CommandLine) -> None:
    site.install_hooks("alpha", adding("greet"))

    done = modcore.run("greet", "--help")

    assert done.returncode == 0
    assert "modcore greet" in done.stdout
    assert "Greets somebody." in done.stdout


def test_an_added_command_when_misspelt_is_suggested(site: Site, modcore: CommandLine) -> None:
    site.install_hooks("alpha", adding("greet"))

    done = modcore.run("great", "world")

    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown command 'great'; did you mean 'greet'?\n")


def test_an_added_command_that_fails_shows_a_sentence_and_a_traceback_only_with_debug(
    site: Site, modcore: CommandLine
) -> None:
    site.install_hooks("alpha", adding("greet", "raise OSError('no voice')"))

    plain = modcore.run("greet", "world")
    debugged = modcore.run("--debug", "greet", "world")

    assert plain.returncode == debugged.returncode == 1
    assert plain.stderr.startswith("internal error: OSError: no voice\n")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debugged.stderr
    assert "alpha_hooks.py" in debugged.stderr


@pytest.mark.parametrize(
    ("stop", "code", "err"),
    [("sys.exit()", 0, ""), ("sys.exit(7)", 7, ""), ("sys.exit('no voice')", 1, "no voice\n")],
)
def test_an_added_command_that_calls_sys_exit_ends_as_python_would(
    site: Site, modcore: CommandLine, stop: str, code: int, err: str
) -> None:
    site.install_hooks("alpha", adding("greet", f"import sys; {stop}"))

    done = modcore.run("greet", "world")

    assert (done.returncode, done.stderr) == (code, err)


def test_a_name_of_the_core_when_a_plugin_claims_it_stays_the_cores(
    site: Site, modcore: CommandLine
) -> None:
    site.install_hooks("alpha", adding("list-plugins"))
    site.install_hooks("beta", adding("greet"))

    listed = modcore.run("list-plugins")
    greeted = modcore.run("greet", "world")

    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.startswith("modcore ")
    assert (greeted.returncode, greeted.stdout) == (4, "world False\n")
    assert greeted.stderr == (
        "modcore: plugin alpha 1.0: modcore_register_commands fails with PluginError: "
        "the command 'list-plugins' is taken; choose another name for it.\n"
    )


def test_a_name_that_two_plugins_claim_is_an_error_of_the_later_one(
    site: Site, modcore: CommandLine
) -> None:
    site.install_hooks("alpha", adding("greet", "print('alpha')"))
    site.install_hooks("beta", adding("greet", "print('beta')"))

    done = modcore.run("greet", "world")

    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "modcore_register_commands fails with PluginError: the command 'greet' is taken" in line


def test_a_taken_name_when_strict_is_the_plugins_error(site: Site, modcore: CommandLine) -> None:
    site.install_hooks("alpha", adding("serve"))

    done = modcore.run("greet", "world", MODCORE_STRICT_PLUGINS="1")

    assert (done.returncode, done.stdout) == (1, "")
    assert "alpha 1.0" in done.stderr
    assert "the command 'serve' is taken" in done.stderr


def test_a_command_of_the_core_does_not_load_the_plugins_commands(
    site: Site, modcore: CommandLine
) -> None:
    site.install_hooks("alpha", "raise AssertionError('imported')")

    assert modcore.run("list-plugins").stderr == ""
    assert modcore.run("--help").stderr == ""
    assert modcore.run("--version").stderr == ""
