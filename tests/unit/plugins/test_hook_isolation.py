"""A plugin that misbehaves at import or in a hook costs one line, not the command."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from modcore.errors import PluginError
from modcore.plugins import PluginManager, ServiceSpec
from plugin_sites import Site

Make = Callable[..., PluginManager]
SPEC = ServiceSpec(name="s", command=("serve",))
HEARING = """
from modcore.plugins import hookimpl

heard = []

@hookimpl
def modcore_service_stopped(spec, exit_code):
    heard.append(exit_code)
"""


def raising(what: str) -> str:
    return f"""
    from modcore.plugins import hookimpl

    @hookimpl
    def modcore_service_stopped(spec, exit_code):
        {what}
    """


@pytest.fixture
def heard(site: Site) -> Callable[[], list[int]]:
    """What the well-behaved plugin `zeta`, asked after the others, has heard."""
    site.install_hooks("zeta", HEARING)
    return lambda: sys.modules["zeta_hooks"].heard


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('no\\nreally')", "RuntimeError: no"),
        ("def broken(:", "SyntaxError: invalid syntax (alpha_hooks.py, line 1)"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_module_that_fails_at_import_costs_one_line_that_names_it_and_the_cause(
    site: Site,
    manager: Make,
    heard: Callable[[], list[int]],
    capsys: pytest.CaptureFixture[str],
    source: str,
    cause: str,
) -> None:
    site.install_hooks("alpha", source, "2.1")

    plugins = manager()
    plugins.service_stopped(SPEC, 7)
    plugins.service_stopped(SPEC, 8)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("modcore: plugin alpha 2.1 is broken: ")
    assert f"fails with {cause}; try: pip install" in line
    assert heard() == [7, 8]


def test_a_module_that_does_not_finish_its_import_is_left_out_after_the_timeout(
    site: Site,
    manager: Make,
    heard: Callable[[], list[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    site.install_hooks("stuck", "import threading; gate = threading.Event(); gate.wait(60)")

    manager(MODCORE_PLUGIN_TIMEOUT="0.1").service_stopped(SPEC, 7)

    assert heard() == [7]
    assert (
        "plugin stuck 1.0 (stuck_hooks) is still importing after 0.1 s" in capsys.readouterr().err
    )
    sys.modules["stuck_hooks"].gate.set()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_no_number_of_seconds_is_an_error(
    site: Site, manager: Make, text: str
) -> None:
    site.install_hooks("alpha", HEARING)

    with pytest.raises(PluginError, match=f"MODCORE_PLUGIN_TIMEOUT='{text}' is not a number"):
        manager(MODCORE_PLUGIN_TIMEOUT=text).service_stopped(SPEC, 7)


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("raise RuntimeError('no\\nreally')", "RuntimeError: no"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("assert spec is None", "AssertionError"),
    ],
)
def test_a_hook_that_raises_costs_one_line_that_names_it_and_the_cause(
    site: Site,
    manager: Make,
    heard: Callable[[], list[int]],
    capsys: pytest.CaptureFixture[str],
    what: str,
    cause: str,
) -> None:
    site.install_hooks("alpha", raising(what), "2.1")

    manager().service_stopped(SPEC, 7)

    err = capsys.readouterr().err
    assert err == f"modcore: plugin alpha 2.1: modcore_service_stopped fails with {cause}\n"
    assert heard() == [7]


@pytest.mark.parametrize(
    "source", ["raise RuntimeError('no')", raising("raise RuntimeError('no')")]
)
def test_a_failure_when_strict_is_an_error_with_the_cause_chained(
    site: Site, manager: Make, source: str
) -> None:
    site.install_hooks("alpha", source)

    with pytest.raises(PluginError, match=r"alpha 1\.0.*RuntimeError: no") as caught:
        manager(MODCORE_STRICT_PLUGINS="1").service_stopped(SPEC, 7)

    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_hook_that_prints_does_so_on_stderr(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    site.install_hooks("alpha", "print('loaded')\n" + HEARING + "    print('heard')")

    manager().service_stopped(SPEC, 7)

    assert capsys.readouterr() == ("", "loaded\nheard\n")


def test_an_interrupt_in_a_hook_is_an_interrupt(site: Site, manager: Make) -> None:
    site.install_hooks("alpha", raising("raise KeyboardInterrupt"))

    with pytest.raises(KeyboardInterrupt):
        manager().service_stopped(SPEC, 7)


def test_hooks_of_a_denied_plugin_are_neither_loaded_nor_complained_about(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    site.install_hooks("alpha", "raise AssertionError('imported')")

    manager(MODCORE_DISABLE_PLUGINS="alpha").service_stopped(SPEC, 7)

    assert capsys.readouterr().err == ""


def test_hooks_of_an_incompatible_plugin_are_left_out_with_one_line(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    site.install_hooks("alpha", "raise AssertionError('imported')", requires=["modcore>=99"])

    manager().service_stopped(SPEC, 7)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("modcore: plugin alpha 1.0 is left out: alpha 1.0 needs modcore>=99")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_wrapper_that_raises_leaves_the_result_as_it_would_be_without_it(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    before, after = (
        ("raise RuntimeError('no')", "") if moment == "before" else ("", "raise RuntimeError('no')")
    )
    site.install_hooks(
        "alpha",
        f"""
        from modcore.plugins import ModelMatch, hookimpl

        @hookimpl(wrapper=True)
        def modcore_match_model(config):
            {before}
            matches = yield
            {after}
            return []
        """,
    )
    site.install(
        "beta",
        entry_points={"modcore": {"beta": "beta_hooks"}, "modcore.text_models": {"Beta": "b:Beta"}},
        modules={
            "beta_hooks": """
            from modcore.plugins import ModelMatch, hookimpl

            @hookimpl
            def modcore_match_model(config):
                return ModelMatch("Beta", "always")
            """
        },
    )

    assert [match.id for match in manager().match_model({})] == ["Beta"]
    assert "alpha 1.0: modcore_match_model fails with RuntimeError: no" in capsys.readouterr().err


def test_a_wrapper_that_behaves_changes_the_result(site: Site, manager: Make) -> None:
    site.install(
        "alpha",
        entry_points={"modcore": {"alpha": "alpha_hooks"}, "modcore.text_models": {"A": "a:A"}},
        modules={
            "alpha_hooks": """
            from modcore.plugins import ModelMatch, hookimpl

            @hookimpl(wrapper=True)
            def modcore_match_model(config):
                matches = yield
                return [*matches, ModelMatch("A", "the wrapper says so")]
            """
        },
    )

    assert [match.reason for match in manager().match_model({})] == ["the wrapper says so"]
