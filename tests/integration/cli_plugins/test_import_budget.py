"""Neither ``import modcore`` nor listing plugins loads anything heavy, or any plugin."""

from __future__ import annotations

import pytest

from plugin_sites import CommandLine, Site

HEAVY = {
    "fastapi",
    "jinja2",
    "numpy",
    "pluggy",
    "pydantic",
    "rich",
    "safetensors",
    "torch",
    "transformers",
    "uvicorn",
}
LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
LIST = "import modcore.cli; assert modcore.cli.main(['list-plugins', {option}]) == 0"


def loaded_by(modcore: CommandLine, statement: str) -> set[str]:
    """The top-level modules in `sys.modules` after `statement`."""
    done = modcore.python_with("-c", f"{statement}\n{LOADED}")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_modcore_loads_nothing_heavy_and_no_plugin(everything: CommandLine) -> None:
    loaded = loaded_by(everything, "import modcore")

    assert not loaded & (HEAVY | {"modcore_llama", "importlib_metadata", "packaging"})


@pytest.mark.parametrize("option", ["'--json'", "'--requirements'", "'--group', 'weights'"])
def test_listing_plugins_loads_nothing_heavy_and_no_plugin(
    site: Site, everything: CommandLine, option: str
) -> None:
    site.install_hooks("alpha", "raise AssertionError('imported')", requires=["modcore>=0.1,<1"])

    loaded = loaded_by(everything, LIST.format(option=option))

    assert not loaded & (HEAVY | {"modcore_llama", "alpha_hooks"})


def test_listing_plugins_with_plain_bounds_does_not_load_packaging(
    site: Site, everything: CommandLine
) -> None:
    site.install_hooks("alpha", "", requires=["modcore[engine]>=0.1,<1"])

    assert "packaging" not in loaded_by(everything, LIST.format(option="'--json'"))


def test_the_core_alone_when_help_list_and_explain_are_asked_for_has_all_it_needs(
    modcore: CommandLine,
) -> None:
    assert modcore.python_with("-c", "import torch").returncode == 1
    for words in (["--help"], ["list-plugins"], ["list-plugins", "--help"], ["explain", "--help"]):
        done = modcore.run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_every_command_when_the_core_is_alone_explains_its_options(modcore: CommandLine) -> None:
    for command in ("bench", "demo", "generate", "serve"):
        done = modcore.run(command, "--help")
        assert done.returncode == 0, done.stderr
        assert f"modcore {command}" in done.stdout


def test_the_engine_when_the_core_is_alone_names_the_extra_to_install(modcore: CommandLine) -> None:
    done = modcore.run("generate", "/nowhere", "--prompt", "hello")

    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'modcore[engine]'" in done.stderr
    assert "Traceback" not in done.stderr
