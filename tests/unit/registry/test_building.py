"""Building from configs."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest

from modcore.registry import DefaultScope, Registry, RegistryMiss, build_from_cfg


class Net:
    def __init__(self, depth: int, width: int = 1) -> None:
        self.size = (depth, width)


def fail(**arguments: Any) -> None:
    raise ValueError("too deep")


@pytest.fixture
def models() -> Registry:
    registry = Registry("model", scope="toy")
    registry.register_module(module=Net)
    registry.register_module(module=fail)
    return registry


def test_build_when_repeated_makes_a_new_thing_each_time_and_leaves_the_config(
    models: Registry,
) -> None:
    cfg = {"type": "Net", "depth": 3}
    built = [models.build(cfg) for _ in range(3)]

    assert [net.size for net in built] == [(3, 1)] * 3
    assert len({id(net) for net in built}) == 3
    assert cfg == {"type": "Net", "depth": 3}


@pytest.mark.parametrize("kind", [Net, lambda depth: Net(depth), Net.__call__])
def test_type_may_be_anything_that_can_be_called(models: Registry, kind: Any) -> None:
    assert isinstance(models.build({"type": kind, "depth": 2}), Net)


def test_the_config_may_be_any_mapping(models: Registry) -> None:
    for _ in range(2):
        assert models.build(UserDict(type="Net", depth=2)).size == (2, 1)


def test_default_args_fill_in_what_the_config_leaves_out(models: Registry) -> None:
    defaults = {"type": "fail", "width": 7, "depth": 1}

    assert build_from_cfg({"type": "Net", "depth": 2}, models, defaults).size == (2, 7)
    assert models.build({"type": "Net", "depth": 2}, default_args=defaults).size == (2, 7)


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        (["Net"], TypeError, "cfg is ['Net']; it has to be a dict with the key 'type'."),
        (None, TypeError, "cfg is None; it has to be a dict with the key 'type'."),
        (
            {"depth": 1},
            RegistryMiss,
            "cfg has to hold the key 'type', which names what to build from toy::model; it holds 'depth'.",
        ),
        ({"type": 3}, TypeError, "type is 3; it has to be a registered name or a callable."),
        ({"type": []}, TypeError, "type is []; it has to be a registered name or a callable."),
        ({"type": None}, TypeError, "type is None; it has to be a registered name or a callable."),
        ({"type": "Nett"}, KeyError, "'Nett' is not registered in toy::model. Did you mean 'Net'?"),
    ],
)
def test_build_when_the_config_is_wrong_says_what_it_is(
    models: Registry, cfg: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        models.build(cfg)
    assert str(caught.value) == message


def test_build_from_cfg_when_given_what_it_cannot_take_says_so(models: Registry) -> None:
    with pytest.raises(TypeError, match="registry is 'toy'; it has to be a Registry"):
        build_from_cfg({"type": "Net"}, "toy")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="default_args is 3; it has to be a dict or None"):
        build_from_cfg({"type": "Net"}, models, 3)  # type: ignore[arg-type]


def test_an_error_of_the_constructor_keeps_its_type_and_gets_one_note(models: Registry) -> None:
    for _ in range(2):  # the first build, and those that are a dict hit
        with pytest.raises(ValueError, match="too deep") as caught:
            models.build({"type": "fail", "depth": 99})
        assert caught.value.__notes__ == ["while building fail from toy::model"]

    with pytest.raises(TypeError, match="unexpected keyword argument 'height'") as wrong:
        models.build({"type": "Net", "depth": 1, "height": 1})
    assert wrong.value.__notes__ == ["while building Net from toy::model"]


def test_a_key_error_of_the_constructor_is_not_taken_for_a_miss(models: Registry) -> None:
    calls = []

    @models.register_module()
    def look_up(**arguments: Any) -> None:
        calls.append(arguments)
        raise KeyError("inside")

    for number in (1, 2):
        with pytest.raises(KeyError) as caught:
            models.build({"type": "look_up"})
        assert caught.value.args == ("inside",)
        assert len(calls) == number


def test_a_build_func_gets_everything_and_is_inherited(models: Registry) -> None:
    def spell(cfg: Any, *args: Any, registry: Registry, **kwargs: Any) -> Any:
        return cfg, args, kwargs, registry, build_from_cfg(cfg, registry).size

    parent = Registry("model", scope="top", build_func=spell)
    child = Registry("model", scope="child", parent=parent)
    parent.register_module(module=Net)
    cfg = {"type": "Net", "depth": 2}

    for _ in range(2):
        assert child.build(cfg, 1, two=2) == (cfg, (1,), {"two": 2}, child, (2, 1))
        assert child.build(cfg) == (cfg, (), {}, child, (2, 1))


def test_scope_in_a_config_holds_for_all_that_is_built_inside() -> None:
    top = Registry("model", scope="top")
    det = Registry("model", scope="det", parent=top)

    @top.register_module()
    def outer(inner: dict[str, Any]) -> Any:
        return top.build(inner), DefaultScope.get_current_instance()

    det.register_module("inner", module=lambda: "det's")

    for _ in range(2):
        built, scope = top.build({"type": "outer", "_scope_": "det", "inner": {"type": "inner"}})
        assert built == "det's"
        assert scope is not None and scope.scope_name == "det"
        assert DefaultScope.get_current_instance() is None
    with pytest.raises(RegistryMiss, match=r"Did you mean 'det\.inner'"):
        top.build({"type": "outer", "inner": {"type": "inner"}})
    with pytest.raises(RegistryMiss, match=r"There is no scope 'dte'.*the scopes are det, top\."):
        top.build({"type": "outer", "_scope_": "dte", "inner": {"type": "inner"}})
