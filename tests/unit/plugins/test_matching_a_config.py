"""Every match is collected; the closest kind decides; a tie is refused with both named."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from modcore.errors import CheckpointError
from modcore.plugins import PluginManager
from modcore.plugins.matching import Explanation, explain
from plugin_sites import Site

Make = Callable[..., PluginManager]


def install(site: Site, name: str, *architectures: str, answer: str = "None") -> None:
    """A plugin with model classes, and a hook that gives `answer` to a `config`."""
    hooks = f"""
    from modcore.plugins import ModelMatch, hookimpl

    @hookimpl
    def modcore_match_model(config):
        return {answer}
    """
    site.install(
        name,
        entry_points={
            "modcore": {name: f"{name}_hooks"},
            "modcore.text_models": {key: f"{name}_model:{key}" for key in architectures},
        },
        modules={f"{name}_hooks": hooks, f"{name}_model": "raise AssertionError('imported')"},
    )


def match(id: str, kind: str) -> str:
    return f"ModelMatch({id!r}, 'a {kind}', {kind!r})"


def chosen(explanation: Explanation) -> tuple[str, str, str] | None:
    best = explanation.chosen
    return (best.dist, best.id, best.reason) if best else None


def test_an_architecture_that_is_registered_is_chosen_without_an_import(
    site: Site, manager: Make
) -> None:
    install(site, "alpha", "AlphaLM")

    explanation = explain({"architectures": ["AlphaLM"], "model_type": "alpha"}, manager())

    assert explanation.to_json() == {
        "architectures": ["AlphaLM"],
        "model_type": "alpha",
        "matches": [
            {
                "dist": "alpha",
                "version": "1.0",
                "id": "AlphaLM",
                "reason": "config.json names the architecture AlphaLM",
            }
        ],
        "chosen": {
            "dist": "alpha",
            "version": "1.0",
            "id": "AlphaLM",
            "reason": "config.json names the architecture AlphaLM",
        },
        "variants": [],
        "hint": None,
    }
    assert "alpha_hooks" not in sys.modules
    assert "alpha_model" not in sys.modules


def test_an_architecture_of_a_vision_model_is_chosen_too(site: Site, manager: Make) -> None:
    site.install("alpha", entry_points={"modcore.vision_models": {"AlphaVL": "alpha:AlphaVL"}})

    explanation = explain({"architectures": ["AlphaVL"]}, manager())

    assert explanation.chosen is not None
    assert explanation.chosen.group == "modcore.vision_models"


def test_an_exact_architecture_decides_before_any_hook(site: Site, manager: Make) -> None:
    install(site, "alpha", "AlphaLM")
    install(site, "beta", "BetaLM", answer=match("BetaLM", "model_type"))

    explanation = explain({"architectures": ["AlphaLM"]}, manager())

    assert chosen(explanation) == ("alpha", "AlphaLM", "config.json names the architecture AlphaLM")


def test_a_model_type_decides_before_a_predicate_and_both_are_shown(
    site: Site, manager: Make
) -> None:
    install(site, "alpha", "AlphaLM", answer=match("AlphaLM", "predicate"))
    install(site, "beta", "BetaLM", answer=match("BetaLM", "model_type"))

    explanation = explain({"model_type": "b"}, manager())

    assert chosen(explanation) == ("beta", "BetaLM", "a model_type")
    assert [item.id for item in explanation.matches] == ["BetaLM", "AlphaLM"]
    assert explanation.hint is None


def test_a_predicate_when_it_is_the_only_match_decides(site: Site, manager: Make) -> None:
    answer = f"{match('AlphaLM', 'predicate')} if 'rope_theta' in config else None"
    install(site, "alpha", "AlphaLM", answer=answer)

    assert chosen(explain({"rope_theta": 1.0}, manager())) == ("alpha", "AlphaLM", "a predicate")
    assert chosen(explain({"layers": 1}, manager())) is None


def test_an_architecture_that_two_packages_register_is_a_tie_that_names_both(
    site: Site, manager: Make
) -> None:
    install(site, "alpha", "AlphaLM")
    install(site, "beta", "AlphaLM", "BetaLM")

    tie = explain({"architectures": ["AlphaLM"]}, manager())

    assert tie.chosen is None
    assert len(tie.matches) == 2
    assert tie.hint == (
        "More than one package serves this checkpoint: alpha 1.0 (AlphaLM) and beta 1.0 (AlphaLM). "
        "Uninstall the one that is not meant, or deny it: MODCORE_DISABLE_PLUGINS=alpha or MODCORE_DISABLE_PLUGINS=beta"
    )
    cured = explain({"architectures": ["AlphaLM"]}, manager(MODCORE_DISABLE_PLUGINS="beta"))
    assert chosen(cured) is not None
    assert cured.chosen is not None
    assert cured.chosen.dist == "alpha"


def test_two_model_types_that_match_are_a_tie_that_names_both(site: Site, manager: Make) -> None:
    install(site, "alpha", "AlphaLM", answer=match("AlphaLM", "model_type"))
    install(site, "beta", "BetaLM", answer=match("BetaLM", "model_type"))

    tie = explain({"model_type": "b"}, manager())

    assert tie.chosen is None
    assert tie.hint is not None
    assert "alpha 1.0 (AlphaLM) and beta 1.0 (BetaLM)" in tie.hint


def test_two_architectures_of_one_package_ask_to_name_the_one_that_is_meant(
    site: Site, manager: Make
) -> None:
    install(site, "alpha", "AlphaLM", "AlphaHead")

    tie = explain({"architectures": ["AlphaLM", "AlphaHead"]}, manager())

    assert tie.chosen is None
    assert tie.hint == (
        "alpha 1.0 (AlphaHead) and alpha 1.0 (AlphaLM) both match; "
        "name the one that is meant as the architecture in config.json."
    )


@pytest.mark.parametrize("architectures", ["AlphaLM", ["OtherLM", "AlphaLM"]])
def test_an_architecture_anywhere_in_the_list_or_alone_matches(
    site: Site, manager: Make, architectures: object
) -> None:
    install(site, "alpha", "AlphaLM")

    explanation = explain({"architectures": architectures}, manager())

    assert explanation.chosen is not None
    assert explanation.chosen.id == "AlphaLM"


@pytest.mark.parametrize("value", [{"a": 1}, 5, 0, False, [1], ["AlphaLM", None], [["AlphaLM"]]])
def test_architectures_of_a_wrong_type_are_an_error_that_shows_them(
    manager: Make, value: object
) -> None:
    with pytest.raises(CheckpointError) as caught:
        explain({"architectures": value}, manager())

    assert str(caught.value) == (
        f"config.json: architectures is {value!r} where a list of names is expected; correct it."
    )


@pytest.mark.parametrize("config", [{}, {"architectures": None}, {"architectures": []}])
def test_a_config_that_names_nothing_says_what_is_missing(
    manager: Make, config: dict[str, object]
) -> None:
    explanation = explain(config, manager())

    assert (explanation.architectures, explanation.model_type) == ([], None)
    assert explanation.hint is not None
    assert explanation.hint.startswith("config.json names neither architectures nor model_type")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "LlamaForCausalLM"),
        ({"architectures": ["MistralForCausalLM"]}, "MistralForCausalLM"),
        ({"model_type": "llama"}, "llama"),
    ],
)
def test_an_architecture_of_ours_that_is_not_installed_names_the_package(
    manager: Make, config: dict[str, object], name: str
) -> None:
    explanation = explain(config, manager())

    assert (explanation.matches, explanation.chosen) == ([], None)
    assert explanation.hint == (
        f"Install the package that serves {name}: pip install modcore-llama"
    )


def test_an_architecture_that_merely_has_our_model_type_is_not_ours(manager: Make) -> None:
    config = {"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"}

    hint = explain(config, manager()).hint

    assert hint is not None
    assert "No package known to modcore serves LlamaForSequenceClassification." in hint
    assert "pip install" not in hint


def test_a_package_of_ours_that_is_installed_but_does_not_match_is_to_be_updated(
    site: Site, manager: Make
) -> None:
    entry_points = {"modcore.text_models": {"LlamaForCausalLM": "l:L"}}
    site.install("modcore_llama", "0.0.1", entry_points=entry_points)

    hint = explain({"architectures": ["MistralForCausalLM"]}, manager()).hint

    assert hint == (
        "modcore_llama 0.0.1 is installed, but does not serve MistralForCausalLM as it should; "
        "update it: pip install --upgrade modcore-llama"
    )


def test_an_installed_package_that_is_denied_is_named_as_that(site: Site, manager: Make) -> None:
    install(site, "alpha", "AlphaLM")

    explanation = explain({"architectures": ["AlphaLM"]}, manager(MODCORE_DISABLE_PLUGINS="alpha"))

    assert explanation.matches == []
    assert explanation.hint == (
        "alpha 1.0 is installed and serves AlphaLM, but is blocked: "
        "denied by MODCORE_DISABLE_PLUGINS; take alpha out of it to use it."
    )


def test_an_installed_package_that_is_incompatible_is_named_as_that(
    site: Site, manager: Make
) -> None:
    site.install(
        "alpha",
        requires=["modcore>=99"],
        entry_points={"modcore.text_models": {"AlphaLM": "alpha:AlphaLM"}},
    )

    hint = explain({"architectures": ["AlphaLM"]}, manager()).hint

    assert hint is not None
    assert hint.startswith("alpha 1.0 is installed and serves AlphaLM, but is incompatible: ")
    assert "needs modcore>=99" in hint


def test_an_unknown_architecture_says_how_to_write_a_plugin(site: Site, manager: Make) -> None:
    install(site, "alpha", "AlphaForCausalLM")

    hint = explain({"architectures": ["AlphForCausalLM"]}, manager()).hint

    assert hint is not None
    assert "No package known to modcore serves AlphForCausalLM." in hint
    assert "(Is AlphaForCausalLM meant?)" in hint
    assert '[project.entry-points."modcore.text_models"] AlphForCausalLM =' in hint


def test_what_did_not_match_is_listed_with_the_reason(site: Site, manager: Make) -> None:
    install(site, "alpha", "AlphaLM")
    install(site, "beta", "BetaLM")
    install(site, "gamma", "GammaLM")

    explanation = explain({"architectures": ["AlphaLM"]}, manager(MODCORE_DISABLE_PLUGINS="gamma"))

    assert explanation.rejected == [
        "BetaLM (beta 1.0): config.json names AlphaLM",
        "GammaLM (gamma 1.0): denied by MODCORE_DISABLE_PLUGINS; take gamma out of it to use it.",
    ]


def test_a_hook_that_raises_when_asked_disturbs_no_other_match(
    site: Site, manager: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, "alpha", "AlphaLM", answer="1 / 0")
    install(site, "beta", "BetaLM", answer=match("BetaLM", "model_type"))

    assert chosen(explain({"model_type": "b"}, manager())) == ("beta", "BetaLM", "a model_type")
    assert capsys.readouterr().err == (
        "modcore: plugin alpha 1.0: modcore_match_model fails with "
        "ZeroDivisionError: division by zero\n"
    )


def test_a_class_that_this_process_registers_is_matched_and_one_put_in_its_place_too(
    site: Site, manager: Make
) -> None:
    install(site, "alpha", "AlphaForCausalLM")
    plugins = manager()
    models = plugins.registry("modcore.text_models")
    models.register_module("MineForCausalLM", module=dict)
    models.register_module("AlphaForCausalLM", force=True, module=dict)
    for name in ("MineForCausalLM", "AlphaForCausalLM"):
        chosen = explain({"architectures": [name]}, plugins).chosen
        assert chosen is not None
        assert (chosen.id, chosen.version) == (name, "(this process)")
        assert plugins.resolve(chosen.group, chosen.id) is dict
