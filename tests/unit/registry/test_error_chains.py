"""What a lookup or a build raises stands alone: how the registry looks things up is nobody's cause."""

from __future__ import annotations

from typing import Any

import pytest

from modcore.registry import Registry


def fail() -> None:
    raise ValueError("too deep")


@pytest.fixture
def models() -> Registry:
    registry = Registry("model", scope="toy")
    registry.register_module(module=fail)
    registry.register_module("torn", module="no_such_module:thing")
    return registry


@pytest.mark.parametrize(
    "cfg", [{"type": "Missing"}, {"type": "fail"}, {"depth": 1}, {"type": 7}, 7, {"type": []}]
)
def test_what_build_raises_has_no_lookup_in_its_chain(models: Registry, cfg: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)) as caught:
        models.build(cfg)

    assert caught.value.__context__ is None


def test_what_get_raises_is_chained_to_the_import_that_failed_alone(models: Registry) -> None:
    with pytest.raises(KeyError) as caught:
        models.get("torn")

    cause = caught.value.__cause__
    assert isinstance(cause, ModuleNotFoundError)
    assert cause.__context__ is None
    with pytest.raises(TypeError) as refused:
        models.get(["not", "a", "key"])  # type: ignore[arg-type]
    assert refused.value.__context__ is None


def test_a_miss_while_something_is_handled_still_shows_what_that_was(models: Registry) -> None:
    with pytest.raises(KeyError) as caught:
        try:
            fail()
        except ValueError:
            models.build({"type": "Missing"})

    assert isinstance(caught.value.__context__, ValueError)
