"""Each entry-point group is a registry like any other, filled without importing anything."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from modcore.errors import PluginError
from modcore.plugins import PluginManager
from modcore.registry import Registry
from plugin_sites import Site

GROUP = "modcore.launchers"
Make = Callable[..., PluginManager]


class Rocket:
    def __init__(self, stages: int = 1) -> None:
        self.stages = stages


@pytest.fixture
def launchers(site: Site, manager: Make) -> Registry:
    site.install(
        "alpha",
        entry_points={GROUP: {"pad": "alpha_m:Pad", "lost": "alpha_nowhere:Lost"}},
        modules={"alpha_m": "class Pad:\n    def __init__(self, height=1): self.height = height"},
    )
    return manager().registry(GROUP)


def test_a_group_shows_ids_and_provenance_and_imports_nothing(launchers: Registry) -> None:
    assert sorted(launchers) == ["lost", "pad"]
    assert launchers.entries["pad"].describe() == "alpha_m:Pad (from alpha 1.0)"
    assert "alpha_m:Pad" in repr(launchers)
    assert "alpha_m" not in sys.modules


def test_an_id_is_built_from_a_config(launchers: Registry) -> None:
    assert launchers.build({"type": "pad", "height": 3}).height == 3


def test_a_miss_names_what_is_near_and_what_could_not_be_imported(launchers: Registry) -> None:
    with pytest.raises(PluginError, match=r"alpha 1\.0 is broken"):
        launchers.get("lost")
    with pytest.raises(
        KeyError, match=r"'pda' is not registered.* mean 'pad'.*'lost' could not be"
    ):
        launchers.build({"type": "pda"})


def test_what_a_process_registers_is_resolved_beside_what_is_installed(
    site: Site, manager: Make
) -> None:
    plugins = manager()
    with plugins.registry(GROUP).overlay() as launchers:
        launchers.register_module("rocket", module=Rocket)
        assert plugins.resolve(GROUP, "rocket") is Rocket
    with pytest.raises(PluginError, match="no installed plugin registers 'rocket'"):
        plugins.resolve(GROUP, "rocket")


def test_a_group_that_there_is_not_is_refused_with_the_near_one(manager: Make) -> None:
    with pytest.raises(PluginError, match=r"did you mean 'modcore\.text_models'"):
        manager().registry("modcore.textmodels")


def test_dots_in_an_id_are_no_scopes(site: Site, manager: Make) -> None:
    site.install("alpha", entry_points={"modcore.modules": {"texts.shout": "alpha:shout"}})
    with pytest.raises(KeyError, match=r"mean 'texts\.shout'") as caught:
        manager().registry("modcore.modules").build({"type": "texts.shuot"})
    assert "scope" not in str(caught.value)


@pytest.mark.parametrize("asked", ["BloomForCausalLM", "BloomForCausaLM"])
def test_a_model_that_is_not_installed_is_missed_with_its_package(
    manager: Make, asked: str
) -> None:
    with pytest.raises(KeyError, match="pip install modcore-bloom"):
        manager().registry("modcore.text_models").build({"type": asked})
    with pytest.raises(PluginError, match="pip install modcore-bloom"):
        manager().resolve("modcore.text_models", asked)
