"""An id that several distributions claim disturbs only those who use that id."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from modcore._version import VERSION
from modcore.errors import PluginError
from modcore.plugins import PluginEntry, PluginManager, list_plugins
from plugin_sites import Site

Listed = Callable[..., list[PluginEntry]]
GROUP = "modcore.weights"


@pytest.fixture(autouse=True)
def two_claimants(site: Site) -> None:
    for name, version in (("alpha", "1.0"), ("beta", "2.0")):
        site.install(
            name,
            version,
            entry_points={GROUP: {"taken.x": f"{name}_w:X", f"{name}.x": f"{name}_w:X"}},
            modules={f"{name}_w": "class X: owner = __name__"},
        )


def test_a_taken_id_when_listed_is_a_duplicate_of_both_and_nothing_else_is(listed: Listed) -> None:
    found = {(entry.dist, entry.id): entry.status for entry in listed()}

    assert found == {
        ("alpha", "alpha.x"): "ok",
        ("alpha", "taken.x"): "duplicate",
        ("beta", "beta.x"): "ok",
        ("beta", "taken.x"): "duplicate",
    }


def test_a_taken_id_when_resolved_is_refused_with_both_named_and_nothing_imported(
    manager: Callable[..., PluginManager],
) -> None:
    with pytest.raises(PluginError) as caught:
        manager().resolve(GROUP, "taken.x")

    assert str(caught.value) == (
        "modcore.weights id 'taken.x' is claimed by alpha 1.0 and beta 2.0; "
        "uninstall the one that is not meant, or deny it: MODCORE_DISABLE_PLUGINS=alpha or MODCORE_DISABLE_PLUGINS=beta"
    )
    assert "alpha_w" not in sys.modules
    assert "beta_w" not in sys.modules


def test_the_other_ids_of_the_claimants_when_resolved_work(
    manager: Callable[..., PluginManager],
) -> None:
    plugins = manager()

    assert plugins.resolve(GROUP, "alpha.x").owner == "alpha_w"
    assert plugins.resolve(GROUP, "beta.x").owner == "beta_w"


@pytest.mark.parametrize(("denied", "owner"), [("beta", "alpha_w"), ("alpha", "beta_w")])
def test_a_taken_id_when_one_claimant_is_denied_is_the_others(
    manager: Callable[..., PluginManager], denied: str, owner: str
) -> None:
    plugins = manager(MODCORE_DISABLE_PLUGINS=denied)

    assert plugins.resolve(GROUP, "taken.x").owner == owner


def test_a_taken_id_when_one_claimant_is_incompatible_is_the_others(
    site: Site, manager: Callable[..., PluginManager]
) -> None:
    site.install(
        "gamma",
        requires=["modcore>=99"],
        entry_points={GROUP: {"alpha.x": "gamma_w:X"}},
        modules={"gamma_w": "raise AssertionError('imported')"},
    )

    assert manager().resolve(GROUP, "alpha.x").owner == "alpha_w"


def test_one_id_in_two_groups_when_listed_is_no_duplicate(site: Site, listed: Listed) -> None:
    site.install("gamma", entry_points={"modcore.infer_layers": {"alpha.x": "gamma:X"}})

    assert {entry.status for entry in listed() if entry.id == "alpha.x"} == {"ok"}


def test_an_id_of_the_core_when_a_plugin_claims_it_advises_to_deny_the_plugin(site: Site) -> None:
    site.install("a-launcher", entry_points={"modcore.launchers": {"local": "a:Launcher"}})

    errors = {entry.error for entry in list_plugins({}) if entry.status == "duplicate"}

    assert (
        f"modcore.launchers id 'local' is claimed by a-launcher 1.0 and modcore {VERSION}; uninstall the one that is not meant, or deny it: MODCORE_DISABLE_PLUGINS=a-launcher"
        in errors
    )


def test_an_id_that_one_distribution_registers_twice_says_who_has_to_correct_it(
    site: Site, listed: Listed
) -> None:
    site.install("gamma", entry_points=f"[{GROUP}]\ng.x = gamma:X\ng.x = gamma:Y\n")

    errors = {entry.error for entry in listed() if entry.id == "g.x"}

    assert errors == {
        "modcore.weights id 'g.x' is claimed more than once by gamma 1.0, which the package has "
        "to correct; try: pip install --upgrade gamma"
    }
