"""The default scope decides where a build starts, in its own thread or task only."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from modcore.registry import DefaultScope, Registry, RegistryMiss, init_default_scope
from modcore.registry.scope import _current, _made

SCOPES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def no_scope_left_behind() -> Iterator[None]:
    yield
    _made.set(())
    _current.set(None)


@pytest.fixture
def top() -> Registry:
    """A registry with a child for each scope; ``who`` says where it was found."""
    top = Registry("model", scope="top")
    top.register_module("who", module=lambda: "top")
    for scope in SCOPES:
        child = Registry("model", scope=scope, parent=top)
        child.register_module("who", module=lambda scope=scope: scope)
    return top


def who(registry: Registry) -> str:
    return str(registry.build({"type": "who"}))


def test_build_starts_from_the_default_scope_and_get_does_not(top: Registry) -> None:
    assert who(top) == "top"
    init_default_scope("b")

    assert who(top) == who(top.children["a"]) == "b"
    assert top.get("who")() == "top"
    assert who(top) == "b"


def test_build_of_a_miss_says_that_the_default_scope_led_there(top: Registry) -> None:
    top.children["a"].register_module("only_a", module=lambda: None)

    with DefaultScope.overwrite_default_scope("b"), pytest.raises(RegistryMiss) as caught:
        top.children["a"].build({"type": "only_a"})

    assert str(caught.value).startswith(
        "'only_a' is not registered in b::model or top::model, where the default scope 'b' leads. "
        "Did you mean 'a.only_a'?"
    )


def test_a_default_scope_that_is_unknown_is_an_error(top: Registry) -> None:
    who(top)
    init_default_scope("bb")

    with pytest.raises(RegistryMiss) as caught:
        who(top)
    assert str(caught.value) == (
        "There is no scope 'bb' in the registries of model; the scopes are a, b, c, top."
    )


def test_overwriting_nests_and_is_undone_also_by_an_error(top: Registry) -> None:
    init_default_scope("a")
    with DefaultScope.overwrite_default_scope("b"):
        with DefaultScope.overwrite_default_scope("c"), DefaultScope.overwrite_default_scope(None):
            assert who(top) == "c"
        assert who(top) == "b"
    with pytest.raises(ZeroDivisionError), DefaultScope.overwrite_default_scope("c"):
        raise ZeroDivisionError
    assert who(top) == "a"


def test_get_instance_makes_a_scope_and_finds_it_again() -> None:
    assert DefaultScope.get_current_instance() is None
    task = DefaultScope.get_instance("task", scope_name="a")
    DefaultScope.get_instance("other", scope_name="b")

    assert DefaultScope.get_instance("task") is task
    assert (task.instance_name, task.scope_name) == ("task", "a")
    current = DefaultScope.get_current_instance()
    assert current is not None and current.scope_name == "b"
    with pytest.raises(RegistryMiss, match="no default scope called 'third' here"):
        DefaultScope.get_instance("third")
    with pytest.raises(TypeError, match="scope_name is 3; it has to be a string"):
        init_default_scope(3)  # type: ignore[arg-type]


def test_switch_scope_and_registry_yields_the_registry_of_the_scope(top: Registry) -> None:
    with top.switch_scope_and_registry(None) as registry:
        assert registry is top
    with top.children["a"].switch_scope_and_registry("b") as registry:
        assert registry is top.children["b"]
        with top.switch_scope_and_registry(None) as inner:
            assert inner is registry
        with top.switch_scope_and_registry("top") as inner:
            assert inner is top
    with pytest.raises(RegistryMiss, match="There is no scope 'x'"):
        top.switch_scope_and_registry("x").__enter__()


def test_threads_with_different_scopes_at_once_do_not_see_each_other(top: Registry) -> None:
    barrier = threading.Barrier(len(SCOPES))

    def work(scope: str) -> set[str]:
        barrier.wait()
        found = set()
        for _ in range(300):
            with DefaultScope.overwrite_default_scope(scope):
                found.add(who(top))
            assert who(top) == "top"
        init_default_scope(scope)
        barrier.wait()
        return found | {who(top)}

    with ThreadPoolExecutor(len(SCOPES)) as pool:
        assert list(pool.map(work, SCOPES)) == [{scope} for scope in SCOPES]
    assert who(top) == "top"


async def test_tasks_with_different_scopes_at_once_do_not_see_each_other(top: Registry) -> None:
    init_default_scope("a")  # which every task starts with

    async def work(scope: str) -> list[str]:
        found = [who(top)]
        with DefaultScope.overwrite_default_scope(scope):
            await asyncio.sleep(0)
            found.append(who(top))
            await asyncio.sleep(0)
            found.append(who(top))
        init_default_scope(scope)
        await asyncio.sleep(0)
        return [*found, who(top)]

    assert await asyncio.gather(*map(work, SCOPES)) == [["a", s, s, s] for s in SCOPES]
    assert who(top) == "a"


def test_a_thread_that_is_given_the_context_has_its_scope(top: Registry) -> None:
    init_default_scope("c")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(who, top).result() == "top"
        assert pool.submit(contextvars.copy_context().run, who, top).result() == "c"
