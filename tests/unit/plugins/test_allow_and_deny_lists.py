"""MODCORE_PLUGINS and MODCORE_DISABLE_PLUGINS decide before anything is imported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modcore.errors import PluginError
from modcore.plugins import PluginEntry, list_plugins
from plugin_sites import Site

Listed = Callable[..., list[PluginEntry]]


@pytest.fixture(autouse=True)
def two_plugins(site: Site) -> None:
    for name in ("alpha-one", "beta"):
        site.install(name, entry_points={"modcore.weights": {f"{name}.x": f"{name[:4]}:X"}})


def statuses(entries: list[PluginEntry]) -> dict[str, str]:
    return {entry.dist: entry.status for entry in entries}


def test_an_allow_list_when_set_blocks_everything_else(listed: Listed) -> None:
    entries = listed(MODCORE_PLUGINS="beta")

    assert statuses(entries) == {"alpha-one": "blocked", "beta": "ok"}
    assert entries[0].error == "not named in MODCORE_PLUGINS; add alpha-one to it to use it."


def test_a_deny_list_when_set_blocks_what_it_names(listed: Listed) -> None:
    entries = listed(MODCORE_DISABLE_PLUGINS="beta")

    assert statuses(entries) == {"alpha-one": "ok", "beta": "blocked"}
    assert entries[1].error == "denied by MODCORE_DISABLE_PLUGINS; take beta out of it to use it."


def test_a_name_in_both_lists_when_set_is_denied(listed: Listed) -> None:
    both = listed(MODCORE_PLUGINS="alpha-one,beta", MODCORE_DISABLE_PLUGINS="beta")

    assert statuses(both) == {"alpha-one": "ok", "beta": "blocked"}


@pytest.mark.parametrize("spelling", ["Alpha_One", "alpha.one", "ALPHA--ONE", " alpha-one , "])
def test_a_name_in_a_list_when_spelt_another_way_is_the_same_package(
    listed: Listed, spelling: str
) -> None:
    assert statuses(listed(MODCORE_DISABLE_PLUGINS=spelling))["alpha-one"] == "blocked"
    assert statuses(listed(MODCORE_PLUGINS=spelling)) == {"alpha-one": "ok", "beta": "blocked"}


@pytest.mark.parametrize("empty", ["", " ", ","])
def test_an_empty_allow_list_when_set_allows_no_plugin_but_the_core(
    listed: Listed, empty: str
) -> None:
    assert set(statuses(listed(MODCORE_PLUGINS=empty)).values()) == {"blocked"}
    core = [entry for entry in list_plugins({"MODCORE_PLUGINS": empty}) if entry.dist == "modcore"]
    assert {entry.status for entry in core} == {"ok"}


def test_an_empty_deny_list_when_set_denies_nothing(listed: Listed) -> None:
    assert set(statuses(listed(MODCORE_DISABLE_PLUGINS="")).values()) == {"ok"}


@pytest.mark.parametrize("variable", ["MODCORE_PLUGINS", "MODCORE_DISABLE_PLUGINS"])
def test_an_unknown_name_in_a_list_is_an_error_with_the_near_one_suggested(
    listed: Listed, variable: str
) -> None:
    with pytest.raises(PluginError) as caught:
        listed(**{variable: "beta,alpha-on"})

    assert str(caught.value) == (
        f"{variable} names 'alpha-on', which is not an installed plugin; did you mean alpha-one?"
    )


def test_an_unknown_name_that_resembles_none_lists_what_is_installed(listed: Listed) -> None:
    with pytest.raises(PluginError, match=r"installed: .*alpha-one.*beta"):
        listed(MODCORE_PLUGINS="xyzzy")


def test_the_core_when_it_is_denied_is_an_error(listed: Listed) -> None:
    with pytest.raises(PluginError, match="names modcore itself, which cannot be disabled"):
        listed(MODCORE_DISABLE_PLUGINS="beta,modcore")


def test_the_core_when_it_stands_in_the_allow_list_is_no_unknown_name(listed: Listed) -> None:
    assert statuses(listed(MODCORE_PLUGINS="modcore,beta")) == {
        "alpha-one": "blocked",
        "beta": "ok",
    }


def test_a_blocked_plugin_when_it_is_incompatible_too_is_blocked(
    site: Site, listed: Listed
) -> None:
    site.install("old", requires=["modcore>=99"], entry_points={"modcore.weights": {"o.x": "o:X"}})

    assert statuses(listed(MODCORE_DISABLE_PLUGINS="old"))["old"] == "blocked"
