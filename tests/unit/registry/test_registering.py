"""What may be registered, in which forms, and what happens when a name is taken."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

from modcore.registry import Entry, Registry, RegistryConflict, RegistryMiss


@pytest.fixture
def models() -> Registry:
    return Registry("model", scope="toy")


def define(label: str = "") -> Any:
    """A new class called Net, from a place that it shares with no other."""

    class Net:
        __doc__ = label

    return Net


def top_level(number: int) -> Any:
    """A class Net as a notebook or a reload defines it: anew each time, under one name."""
    namespace: dict[str, Any] = {"__name__": "notebook"}
    exec(f"class Net:\n    version = {number}", namespace)
    return namespace["Net"]


def test_register_module_in_each_of_its_forms_returns_the_thing_unchanged(models: Registry) -> None:
    @models.register_module()
    class WithParentheses: ...

    @models.register_module
    class Without: ...

    @models.register_module(name="short")
    class Named: ...

    @models.register_module(["one", "two"])
    def function() -> None: ...

    direct, positional = define(), define()
    assert models.register_module(module=direct) is direct
    assert models.register_module("positional", False, positional) is positional

    assert dict(models.module_dict) == {
        "WithParentheses": WithParentheses,
        "Without": Without,
        "short": Named,
        "one": function,
        "two": function,
        "Net": direct,
        "positional": positional,
    }
    assert len(models) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 3}, "name is 3; it has to be a string, or a list of strings."),
        (
            {"name": ["a", None]},
            "name is ['a', None]; it has to be a string, or a list of strings.",
        ),
        ({"name": []}, "name is []; it has to be a string, or a list of strings."),
        (
            {"name": "", "module": define},
            "name is ''; it has to be a string, or a list of strings.",
        ),
        ({"force": 1}, "force is 1; it has to be True or False."),
        ({"module": 3}, "3 cannot be registered: it cannot be called."),
        ({"module": "os"}, "'os' cannot be registered: a string has to be 'module:attr'."),
    ],
)
def test_register_module_when_given_what_it_cannot_take_says_so_and_registers_nothing(
    models: Registry, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        models.register_module(**arguments)

    assert str(caught.value) == message
    assert len(models) == 0


@pytest.mark.parametrize("nameless", [lambda: None, functools.partial(print)])
def test_a_callable_without_a_name_needs_one(models: Registry, nameless: Any) -> None:
    with pytest.raises(TypeError, match=r"has no name of its own; give it one"):
        models.register_module(module=nameless)

    models.register_module("given", module=nameless)
    assert models.get("given") is nameless


def test_the_same_object_when_registered_again_changes_nothing(models: Registry) -> None:
    net = define()
    models.register_module(module=net)
    models.register_module(module=net)

    assert models.get("Net") is net


def test_a_definition_when_run_again_replaces_the_former(models: Registry) -> None:
    for number in (1, 2):
        models.register_module(module=top_level(number))

    assert models.get("Net").version == 2


def test_a_taken_name_is_an_error_with_both_named_only_when_it_is_used(models: Registry) -> None:
    models.add(Entry("Net", "alpha.net:Net", source="modcore-alpha 1.0"))
    models.add(Entry("Net", "beta.net:Net", source="modcore-beta 2.0"))
    models.register_module(name="other", module=define())

    with pytest.raises(RegistryConflict) as caught:
        models.get("Net")

    assert str(caught.value) == (
        "'Net', asked for in toy::model, is registered by alpha.net:Net (from modcore-alpha 1.0) "
        "and by beta.net:Net (from modcore-beta 2.0); register the one that is meant with "
        "force=True, or unregister the name first."
    )
    with pytest.raises(RegistryConflict):
        models.build({"type": "Net"})
    assert "Net" in models
    assert models.get("other")


def test_a_conflict_when_one_side_is_registered_again_stays(models: Registry) -> None:
    first, second = define("first"), define("second")
    for net in (first, second, first, second):
        models.register_module(module=net)

    assert [entry.value for entry in models.claims["Net"]] == [first, second]
    with pytest.raises(RegistryConflict):
        models.get("Net")


@pytest.mark.parametrize("cure", ["force", "unregister"])
def test_a_conflict_is_settled_by_force_or_by_unregistering(models: Registry, cure: str) -> None:
    models.register_module(module=define())
    models.register_module(module=define())
    meant = define()
    if cure == "unregister":
        models.unregister("Net")
    models.register_module(force=cure == "force", module=meant)

    assert models.get("Net") is meant


def test_several_names_when_one_is_taken_leave_the_others_usable(models: Registry) -> None:
    models.register_module(name="b", module=define())
    net = models.register_module(name=["a", "b", "c"], module=define())

    assert models.get("a") is models.get("c") is net
    with pytest.raises(RegistryConflict):
        models.get("b")


def test_several_names_appear_together_to_other_threads(models: Registry) -> None:
    names = [f"n{number}" for number in range(50)]
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(len(models))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(200):
        with models.overlay():
            models.register_module(name=names, module=define())
    done.set()
    watcher.join()

    assert seen <= {0, 50}


def test_threads_when_they_register_at_once_lose_nothing(models: Registry) -> None:
    barrier = threading.Barrier(8)

    def register(thread: int) -> None:
        barrier.wait()
        for number in range(100):
            models.register_module(name=f"{thread}/{number}", module=define())
            models.register_module(name="contested", module=define())

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(models) == 801
    assert len(models.claims["contested"]) == 800


def test_unregister_takes_a_name_out_for_every_registry_that_saw_it(models: Registry) -> None:
    child = Registry("model", parent=models, scope="child")
    net = models.register_module(module=define())
    assert child.get("Net") is net

    models.unregister("Net")

    assert child.get("Net") is None
    with pytest.raises(RegistryMiss, match=r"'Net' is not registered in child::model itself\."):
        child.unregister("Net")


def test_a_name_that_a_registry_does_not_hold_itself_names_the_near_one(models: Registry) -> None:
    models.register_module(module=define())

    for miss in (models.unregister, models.module_dict.__getitem__):
        with pytest.raises(RegistryMiss, match=r"'Nett' is not registered in .* mean 'Net'\?"):
            miss("Nett")
    assert models.module_dict.get("Nett") is None
    with pytest.raises(KeyError, match="7 is not registered"):
        models.module_dict[7]  # type: ignore[index]


def test_replacing_by_force_is_seen_where_the_former_was_built(models: Registry) -> None:
    child = Registry("model", parent=models, scope="child")
    models.register_module(name="f", module=lambda: "former")
    assert child.build({"type": "f"}) == "former"

    models.register_module(name="f", force=True, module=lambda: "latter")

    assert child.build({"type": "f"}) == "latter"


def test_repr_is_a_table_of_names_and_what_they_stand_for(models: Registry) -> None:
    models.register_module(name="lazy", module="nowhere:Thing")

    assert repr(models) == (
        "    Registry of model\n"
        "┏━━━━━━━┳━━━━━━━━━━━━━━━┓\n"
        "┃ Names ┃ Objects       ┃\n"
        "┡━━━━━━━╇━━━━━━━━━━━━━━━┩\n"
        "│ lazy  │ nowhere:Thing │\n"
        "└───────┴───────────────┘"
    )


def test_the_constructor_when_given_what_it_cannot_take_says_so() -> None:
    parent = Registry("model", scope="top")
    Registry("model", parent=parent, scope="taken")

    for arguments, error, message in [
        ({"parent": "top"}, TypeError, "parent is 'top'; it has to be a Registry."),
        ({"scope": 3}, TypeError, "scope is 3; it has to be a string."),
        ({"scope": "a.b"}, ValueError, "scope is 'a.b'; it has to be a name without dots."),
        ({"build_func": 3}, TypeError, "build_func is 3; it has to be callable."),
        (
            {"locations": "a.b"},
            TypeError,
            "locations is 'a.b'; it has to be a list of module names.",
        ),
        (
            {"parent": parent, "scope": "taken"},
            RegistryConflict,
            "scope 'taken' is taken below top::model, by taken::model; give 'x' another scope.",
        ),
    ]:
        with pytest.raises(error) as caught:
            Registry("x", **arguments)  # type: ignore[arg-type]
        assert str(caught.value) == message


def test_the_scope_when_none_is_given_is_the_package_of_the_caller_also_for_derived_classes() -> (
    None
):
    class Derived(Registry):
        def __init__(self, name: str) -> None:
            super().__init__(name)

    places: dict[str, Any] = {"__name__": "some.package.module", "Registry": Registry, "D": Derived}
    exec("registry = Registry('a')\nderived = D('b')\nscope = Registry.infer_scope()", places)

    assert places["registry"].scope == places["derived"].scope == places["scope"] == "some"


def test_names_with_dots_are_found(models: Registry) -> None:
    net = models.register_module(name="llama.transformer.int8", module=define())

    assert models.get("llama.transformer.int8") is net
    assert models.build({"type": "toy.llama.transformer.int8"}).__class__ is net
