"""A hook that fits no spec is a complaint with a suggestion; the plugin's other hooks work."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from modcore.errors import PluginError
from modcore.plugins import PluginManager, ServiceSpec
from plugin_sites import Site

Make = Callable[..., PluginManager]
SPEC = ServiceSpec(name="s", command=("serve",))
REMEDY = "try: pip install --upgrade --force-reinstall alpha, or pip uninstall alpha"
WORKING = """
heard = []

@hookimpl
def modcore_service_stopped(spec, exit_code):
    heard.append((spec.name, exit_code))
"""
MISSPELT = """
from modcore.plugins import hookimpl

@hookimpl
def modcore_mach_model(config):
    pass
"""
WRONG_ARGUMENT = """
from modcore.plugins import hookimpl

@hookimpl
def modcore_match_model(confg):
    pass
"""


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (
            MISSPELT,
            "implements the unknown hook modcore_mach_model; did you mean modcore_match_model?",
        ),
        (
            WRONG_ARGUMENT,
            "gives modcore_match_model the unknown argument confg; did you mean config?",
        ),
    ],
)
def test_a_misfit_when_hooks_are_called_costs_one_line_and_leaves_the_rest_working(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str], source: str, fault: str
) -> None:
    site.install_hooks("alpha", source + WORKING)
    plugins = manager()

    assert plugins.match_model({}) == []
    plugins.service_stopped(SPEC, 3)

    assert sys.modules["alpha_hooks"].heard == [("s", 3)]
    assert capsys.readouterr().err == f"modcore: plugin alpha 1.0: alpha_hooks {fault} {REMEDY}\n"


def test_a_misfit_when_strict_is_an_error_every_time(site: Site, manager: Make) -> None:
    site.install_hooks("alpha", MISSPELT + WORKING)
    plugins = manager(MODCORE_STRICT_PLUGINS="1")

    for _ in range(2):
        with pytest.raises(PluginError, match="did you mean modcore_match_model"):
            plugins.match_model({})


def test_a_hook_that_resembles_none_names_them_all(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    site.install_hooks("alpha", "from modcore.plugins import hookimpl\n@hookimpl\ndef xyzzy(): ...")

    manager().match_model({})

    assert "there are modcore_match_model, modcore_build_model" in capsys.readouterr().err


def test_an_optional_hook_that_the_core_does_not_know_is_no_complaint(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "from modcore.plugins import hookimpl\n@hookimpl(optionalhook=True)\ndef modcore_later(): ..."
    site.install_hooks("alpha", source)

    manager().match_model({})

    assert capsys.readouterr().err == ""


def test_a_hook_that_takes_fewer_arguments_or_more_with_defaults_works(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
    from modcore.plugins import hookimpl

    heard = []

    @hookimpl
    def modcore_service_stopped(exit_code, extra=1):
        heard.append((exit_code, extra))
    """
    site.install_hooks("alpha", source)

    manager().service_stopped(SPEC, 0)

    assert sys.modules["alpha_hooks"].heard == [(0, 1)]
    assert capsys.readouterr().err == ""


def test_a_wrapper_that_is_no_generator_is_left_out_with_one_line(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
    from modcore.plugins import hookimpl

    @hookimpl(wrapper=True)
    def modcore_match_model(config):
        return None
    """
    site.install_hooks("alpha", source)

    assert manager().match_model({}) == []

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "modcore: plugin alpha 1.0: alpha_hooks declares modcore_match_model a wrapper, "
        "but it is no generator function"
    )


def test_an_object_with_hook_methods_is_a_plugin_too(site: Site, manager: Make) -> None:
    source = """
    from modcore.plugins import hookimpl

    class Hooks:
        def __init__(self):
            self.heard = []

        @hookimpl
        def modcore_service_stopped(self, spec, exit_code):
            self.heard.append(exit_code)

    hooks = Hooks()
    """
    site.install(
        "alpha",
        entry_points={"modcore": {"alpha": "alpha_hooks:hooks"}},
        modules={"alpha_hooks": source},
    )

    manager().service_stopped(SPEC, 4)

    assert sys.modules["alpha_hooks"].hooks.heard == [4]


def test_an_object_that_raises_when_it_is_looked_at_is_broken(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
    class Hooks:
        @property
        def modcore_match_model(self):
            raise RuntimeError("do not look")

    hooks = Hooks()
    """
    site.install(
        "alpha",
        entry_points={"modcore": {"alpha": "alpha_hooks:hooks"}},
        modules={"alpha_hooks": source},
    )

    assert manager().match_model({}) == []
    assert "fails with RuntimeError: do not look" in capsys.readouterr().err
