"""The hook specs are typed and documented, and the manager has one typed method for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from modcore.plugins import PluginManager, hookspecs

SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("modcore_")}


def test_the_contract_has_the_seven_hooks_of_the_design() -> None:
    assert set(SPECS) == {
        "modcore_match_model",
        "modcore_build_model",
        "modcore_deploy",
        "modcore_register_commands",
        "modcore_model_built",
        "modcore_service_started",
        "modcore_service_stopped",
    }


def test_hooks_that_somebody_waits_for_stop_at_the_first_result() -> None:
    first = {name for name, spec in SPECS.items() if spec.modcore_spec["firstresult"]}

    assert first == {"modcore_build_model", "modcore_deploy"}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_spec_is_typed_and_says_when_it_is_called(spec: Callable[..., Any]) -> None:
    signature = inspect.signature(spec)

    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())
    assert spec.__doc__ is not None
    assert "Called" in spec.__doc__


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_managers_method_takes_what_the_spec_takes(spec: Callable[..., Any]) -> None:
    method = getattr(PluginManager, spec.__name__.removeprefix("modcore_"))
    _, *parameters = inspect.signature(method).parameters.values()

    assert {p.name: p.annotation for p in parameters} == {
        p.name: p.annotation for p in inspect.signature(spec).parameters.values()
    }
    assert method.__doc__ is not None
    assert f"``{spec.__name__}``" in method.__doc__


def test_the_managers_answers_are_the_specs_collected_or_never_none() -> None:
    answers = {
        name: inspect.signature(
            getattr(PluginManager, name.removeprefix("modcore_"))
        ).return_annotation
        for name in SPECS
    }

    assert answers.pop("modcore_match_model") == "list[ModelMatch]"
    assert answers.pop("modcore_build_model") == "object"
    assert answers.pop("modcore_deploy") == "Service"
    assert set(answers.values()) == {"None"}


def test_the_markers_when_imported_from_the_package_are_the_contracts() -> None:
    from modcore.plugins import hookimpl, hookspec

    assert (hookimpl, hookspec) == (hookspecs.hookimpl, hookspecs.hookspec)
