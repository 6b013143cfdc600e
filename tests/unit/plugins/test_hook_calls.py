"""What the manager's methods do with the plugins' answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modcore.errors import PluginError
from modcore.plugins import BuildOptions, ModelMatch, PluginManager, ServiceSpec
from plugin_sites import Site

Make = Callable[..., PluginManager]
MATCH = ModelMatch("Alpha", "a test", "architecture", "alpha", "1.0", "modcore.text_models")
OPTIONS = BuildOptions(path=Path("/nowhere"))
MODEL = """
class Model:
    def __init__(self, options):
        self.options = options
"""


def install(site: Site, name: str, hooks: str, model: str = MODEL) -> None:
    module = f"{name}_hooks"
    imports = "from modcore.plugins import ModelMatch, hookimpl\n"
    site.install(
        name,
        entry_points={
            "modcore": {name: module},
            "modcore.text_models": {name.title(): f"{name}_m:Model"},
        },
        modules={module: imports + hooks, f"{name}_m": model},
    )


def test_a_model_when_built_is_the_class_that_the_match_names(site: Site, manager: Make) -> None:
    install(site, "alpha", "")

    model = manager().build_model(MATCH, OPTIONS)

    assert type(model).__name__ == "Model"
    assert model.options is OPTIONS  # type: ignore[attr-defined]


def test_a_model_when_a_plugin_builds_it_is_the_plugins(site: Site, manager: Make) -> None:
    hooks = "@hookimpl\ndef modcore_build_model(match, options):\n    return (match.id, 'built')\n"
    install(site, "alpha", hooks)

    assert manager().build_model(MATCH, OPTIONS) == ("Alpha", "built")


def test_a_model_when_a_plugin_declines_is_built_by_the_core(site: Site, manager: Make) -> None:
    install(site, "alpha", "@hookimpl\ndef modcore_build_model(match):\n    return None\n")

    assert type(manager().build_model(MATCH, OPTIONS)).__name__ == "Model"


def test_an_error_while_a_plugin_builds_a_model_reaches_the_caller(
    site: Site, manager: Make
) -> None:
    install(
        site, "alpha", "@hookimpl\ndef modcore_build_model():\n    raise MemoryError('too big')\n"
    )

    with pytest.raises(MemoryError, match="too big"):
        manager().build_model(MATCH, OPTIONS)


def test_an_error_of_the_model_class_reaches_the_caller(site: Site, manager: Make) -> None:
    install(
        site, "alpha", "", "class Model:\n    def __init__(self, options): raise KeyError('weight')"
    )

    with pytest.raises(KeyError, match="weight"):
        manager().build_model(MATCH, OPTIONS)


def test_a_model_class_that_is_broken_when_asked_for_is_a_hard_error(
    site: Site, manager: Make
) -> None:
    install(site, "alpha", "", "import no_such_module")

    with pytest.raises(PluginError, match=r"alpha 1\.0 is broken.*no_such_module.*pip install"):
        manager().build_model(MATCH, OPTIONS)


def test_a_built_model_is_told_to_every_plugin(site: Site, manager: Make) -> None:
    hooks = "told = []\n@hookimpl\ndef modcore_model_built(match, model):\n    told.append((match.id, model))\n"
    install(site, "alpha", hooks)
    install(site, "beta", hooks)

    model = manager().build_model(MATCH, OPTIONS)

    assert sys.modules["alpha_hooks"].told == sys.modules["beta_hooks"].told == [("Alpha", model)]


def test_a_service_when_deployed_is_the_plugins_and_told_to_every_plugin(
    site: Site, manager: Make
) -> None:
    hooks = """
told = []

@hookimpl
def modcore_deploy(spec, options):
    return (spec.name, dict(options))

@hookimpl
def modcore_service_started(spec, service):
    told.append(service)
"""
    install(site, "alpha", hooks)
    spec = ServiceSpec(name="s", command=("serve",))

    service = manager().deploy(spec, {"gpus": 2})

    assert service == ("s", {"gpus": 2})
    assert sys.modules["alpha_hooks"].told == [service]


def test_a_service_when_no_plugin_places_it_goes_to_the_launcher_that_it_names(
    site: Site, manager: Make
) -> None:
    launcher = """
    class Launcher:
        def __init__(self, region):
            self.region = region

        def launch(self, spec):
            return (spec.name, self.region)
    """
    site.install(
        "alpha",
        entry_points={"modcore.launchers": {"cloud": "alpha_l:Launcher"}},
        modules={"alpha_l": launcher},
    )
    spec = ServiceSpec(name="s", command=("serve",), launcher="cloud")

    assert manager().deploy(spec, {"region": "north"}) == ("s", "north")


def test_a_service_for_an_unknown_launcher_is_refused_with_the_known_ones(
    site: Site, manager: Make
) -> None:
    site.install("alpha", entry_points={"modcore.launchers": {"cloud": "alpha_l:Launcher"}})

    with pytest.raises(
        PluginError, match=r"registers 'clod' in modcore\.launchers; did you mean 'cloud'"
    ):
        manager().deploy(ServiceSpec(name="s", command=("serve",), launcher="clod"))


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("'Alpha'", "TypeError: it answers 'Alpha', which is not a ModelMatch"),
        ("ModelMatch('Alhpa', 'r')", "it answers 'Alhpa', which no usable plugin registers"),
        ("ModelMatch('Alpha', 'r', 'exact')", "ValueError: a match is of one of the kinds"),
    ],
)
def test_an_answer_that_is_no_usable_match_is_left_out_with_one_line(
    site: Site,
    manager: Make,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    complaint: str,
) -> None:
    install(site, "alpha", f"@hookimpl\ndef modcore_match_model(config):\n    return {answer}\n")

    assert manager().match_model({}) == []

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("modcore: plugin alpha 1.0: modcore_match_model fails with ")
    assert complaint in line


def test_an_answer_to_a_config_gets_the_provenance_of_the_model_class(
    site: Site, manager: Make
) -> None:
    hooks = "@hookimpl\ndef modcore_match_model(config):\n    return ModelMatch('Alpha', config['why'])\n"
    install(site, "alpha", "")
    install(site, "beta", hooks)

    assert manager().match_model({"why": "r"}) == [
        ModelMatch("Alpha", "r", "model_type", "alpha", "1.0", "modcore.text_models")
    ]
