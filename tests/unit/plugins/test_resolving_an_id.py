"""An id is resolved by importing the one entry that it names; what fails says whose it is."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from modcore.errors import PluginError
from modcore.plugins import PluginManager
from plugin_sites import Site

GROUP = "modcore.modules"
Make = Callable[..., PluginManager]


def install(site: Site, source: str, target: str = "alpha_m:thing") -> None:
    site.install("alpha", entry_points={GROUP: {"a.b": target}}, modules={"alpha_m": source})


def error_of(manager: PluginManager, id: str = "a.b") -> PluginError:
    with pytest.raises(PluginError) as caught:
        manager.resolve(GROUP, id)
    return caught.value


def test_an_id_when_resolved_imports_only_its_own_module_and_only_once(
    site: Site, manager: Make
) -> None:
    install(site, "imports = []\nimports.append(1)\nthing = object()")
    site.install_hooks("beta", "raise AssertionError('imported')")
    plugins = manager()

    assert plugins.resolve(GROUP, "a.b") is plugins.resolve(GROUP, "a.b")
    assert sys.modules["alpha_m"].imports == [1]
    assert "beta_hooks" not in sys.modules


@pytest.mark.parametrize(
    "target", ["alpha_m:Box.inner", "alpha_m : Box.inner", "alpha_m:Box.inner [x]"]
)
def test_a_dotted_attribute_when_resolved_is_followed(
    site: Site, manager: Make, target: str
) -> None:
    install(site, "class Box: inner = 7", target)

    assert manager().resolve(GROUP, "a.b") == 7


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first"),
        ("def broken(:", "SyntaxError: invalid syntax (alpha_m.py, line 1)"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("other = 1", "AttributeError: module 'alpha_m' has no attribute 'thing'"),
        ("raise RuntimeError", "RuntimeError"),
    ],
)
def test_a_broken_entry_when_resolved_names_everything_and_chains_the_cause(
    site: Site, manager: Make, source: str, cause: str
) -> None:
    install(site, source)

    error = error_of(manager())

    assert str(error) == (
        f"plugin alpha 1.0 is broken: modcore.modules: a.b = alpha_m:thing from alpha 1.0 fails "
        f"with {cause}; try: pip install --upgrade --force-reinstall alpha, or pip uninstall alpha"
    )
    assert type(error.__cause__).__name__ == cause.partition(":")[0]


def test_a_module_that_is_missing_when_resolved_says_so(site: Site, manager: Make) -> None:
    site.install("alpha", entry_points={GROUP: {"a.b": "alpha_nowhere:thing"}})

    assert "ModuleNotFoundError: No module named 'alpha_nowhere'" in str(error_of(manager()))


def test_an_entry_that_needs_the_engine_when_it_is_missing_names_the_extra(
    site: Site, manager: Make
) -> None:
    install(site, "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")

    assert str(error_of(manager())).endswith("try: pip install 'modcore[engine]'")


def test_an_entry_that_fails_for_a_missing_extra_keeps_to_its_one_remedy(
    site: Site, manager: Make
) -> None:
    install(
        site, "from modcore.errors import MissingExtra\nraise MissingExtra('try: pip install x')"
    )

    assert str(error_of(manager())).count("pip install") == 1


def test_what_a_plugin_prints_at_import_goes_to_stderr(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, "print('hello'); thing = 1")

    manager().resolve(GROUP, "a.b")

    assert capsys.readouterr() == ("", "hello\n")


def test_an_interrupt_while_an_entry_is_imported_is_an_interrupt(site: Site, manager: Make) -> None:
    install(site, "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        manager().resolve(GROUP, "a.b")


def test_an_unknown_id_when_resolved_suggests_the_near_one(site: Site, manager: Make) -> None:
    install(site, "thing = 1")

    assert str(error_of(manager(), "a.c")) == (
        "no installed plugin registers 'a.c' in modcore.modules; did you mean 'a.b'?"
    )
    assert str(error_of(manager(), "xyzzy")).endswith("known: a.b.")


def test_a_blocked_id_when_resolved_says_how_to_unblock_it(site: Site, manager: Make) -> None:
    install(site, "thing = 1")

    error = error_of(manager(MODCORE_DISABLE_PLUGINS="alpha"))

    assert str(error) == (
        "modcore.modules: a.b = alpha_m:thing from alpha 1.0 cannot be used: "
        "denied by MODCORE_DISABLE_PLUGINS; take alpha out of it to use it."
    )
    assert "alpha_m" not in sys.modules


def test_an_incompatible_id_when_resolved_is_refused_without_an_import(
    site: Site, manager: Make
) -> None:
    site.install(
        "alpha",
        requires=["modcore>=99"],
        entry_points={GROUP: {"a.b": "alpha_m:thing"}},
        modules={"alpha_m": "thing = 1"},
    )

    assert "alpha 1.0 needs modcore>=99" in str(error_of(manager()))
    assert "alpha_m" not in sys.modules
