"""A module as a callable that holds others: submodules, hooks, cache, streams, repr."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest

import modcore


class Echo(modcore.ModuleBase):
    calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return args, kwargs


class Counting(modcore.ModuleBase):
    def forward(self, count: int) -> Iterator[int]:
        yield from range(count)


def test_submodules_are_what_is_reachable_now() -> None:
    a, b, c, d, e = (Echo(name=name) for name in "abcde")
    root = Echo(name="root")
    root.first = a
    root.several = [b, (c,)]
    root.named = {"x": d}
    root.flow = modcore.pipeline(str, modcore.parallel(e, a))
    assert root.submodules == [a, b, c, d, e]
    root.first = b
    del root.several
    root.flow = None
    assert root.submodules == [b, d]


def test_list_that_holds_itself_is_looked_through_once() -> None:
    inner, root = Echo(name="inner"), Echo(name="root")
    root.ring = [inner]
    root.ring.append(root.ring)
    root.table = {"ring": root.ring, "me": (root.ring, inner)}
    assert root.named_submodules() == [("ring[0]", inner)]


def test_class_that_does_not_call_our_constructor_is_a_module_all_the_same() -> None:
    class Plain(modcore.ModuleBase):
        def __init__(self) -> None:
            self.inner = Echo(name="inner")

        def forward(self, x: int) -> int:
            return x + 1

    plain = Plain()
    assert plain.update()(1) == 2
    assert repr(plain) == "<Module type=Plain>\n└- <Module type=Echo name=inner>"


def test_module_without_forward_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"Empty cannot be called: it has no forward\(\)"):
        type("Empty", (modcore.ModuleBase,), {})()(1)


def test_hooks_see_the_call_its_result_and_its_error() -> None:
    module, seen = Echo(), []
    remove = module.register_hook(
        before=lambda m, args, kwargs: seen.append(("before", args)),
        after=lambda m, result: seen.append(("after", result)),
        on_error=lambda m, error: seen.append(("error", type(error))),
    )
    module(1)
    assert seen == [("before", (1,)), ("after", ((1,), {}))]
    module.forward = lambda x: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        module(2)
    assert seen[-1] == ("error", ZeroDivisionError)
    remove()
    remove()
    module.forward = lambda x: x  # type: ignore[method-assign]
    assert module(3) == 3
    assert len(seen) == 4


def test_cache_is_the_instance_s_own_and_keyed_by_arguments() -> None:
    first, second = Echo().use_cache(), Echo().use_cache()
    for _ in range(2):
        first(1, [2, {"a": {3}}], key=(4,))
    assert first.calls == 1
    second(1, [2, {"a": {3}}], key=(4,))
    assert second.calls == 1
    first.use_cache(False)
    first(1, [2, {"a": {3}}], key=(4,))
    assert first.calls == 2


def test_cache_keeps_apart_what_python_calls_equal() -> None:
    module = Echo().use_cache()
    ones = [1, True, 1.0, "1", [1], (1,), {1}, {True}, {1: 2}, {True: 2}, {1.0: 2}]
    zeros = [0, 0.0, -0.0, False, [0.0], [-0.0], {0.0: 1}, {-0.0: 1}, 0j, -0j]
    for value in ones + zeros:
        assert repr(module(value)) == repr(((value,), {}))
    assert module.calls == len(ones + zeros)


def test_arguments_that_cannot_be_compared_and_generators_are_not_cached() -> None:
    module = Echo().use_cache()
    odd = type("Odd", (), {"__eq__": lambda self, other: True, "__hash__": None})()
    module(odd)
    module(odd)
    assert module.calls == 2
    counting = Counting().use_cache()
    assert list(counting(2)) == list(counting(2)) == [0, 1]


def test_cache_forgets_when_the_module_or_what_it_holds_is_trained() -> None:
    inner = Echo()
    inner._get_train_tasks = lambda: lambda: None  # type: ignore[method-assign]
    outer = Echo().use_cache()
    outer.inner = inner
    outer(1)
    outer.update()
    outer(1)
    assert outer.calls == 2


async def test_cache_keeps_what_a_coroutine_forward_answers() -> None:
    class Slow(modcore.ModuleBase):
        calls = 0

        async def forward(self, x: int) -> int:
            self.calls += 1
            return x

    slow = Slow().use_cache()
    assert [await slow.acall(1), await slow.acall(1)] == [1, 1]
    assert slow.calls == 1


def test_stream_output_shows_each_piece_as_it_passes() -> None:
    module, shown = Counting(), []
    with module.stream_output(shown.append, prefix="<", suffix=">"):
        pieces = module(3)
        assert shown == []
        assert next(pieces) == 0
        assert shown == ["<", 0]
        assert list(pieces) == [1, 2]
    assert shown == ["<", 0, 1, 2, ">"]
    list(module(2))
    assert len(shown) == 5


def test_streams_of_two_threads_do_not_mix() -> None:
    module, shown = Counting(), {"a": [], "b": []}
    inside = threading.Barrier(2, timeout=10)

    def work(name: str) -> None:
        with module.stream_output(shown[name].append, prefix=name):
            inside.wait()
            list(module(2))
            inside.wait()

    threads = [threading.Thread(target=work, args=name) for name in shown]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown == {"a": ["a", 0, 1], "b": ["b", 0, 1]}


async def test_streams_of_two_tasks_do_not_mix() -> None:
    module, shown = Counting(), {"a": [], "b": []}

    async def work(name: str) -> None:
        with module.stream_output(shown[name].append, prefix=name):
            await asyncio.sleep(0)
            list(await module.acall(2))
            await asyncio.sleep(0)

    await asyncio.gather(*map(work, shown))
    assert shown == {"a": ["a", 0, 1], "b": ["b", 0, 1]}


def test_branches_of_a_parallel_in_the_block_are_shown() -> None:
    module, shown = Counting(), []
    with module.stream_output(shown.append):
        modcore.parallel(modcore.pipeline(module, list), modcore.pipeline(module, list))(1)
    assert shown == [0, 0]


class Breaking(modcore.ModuleBase):
    def forward(self, *pieces: int) -> Iterator[int]:
        yield from pieces
        raise LookupError("no more")

    async def later(self, *pieces: int) -> AsyncIterator[int]:
        for piece in Breaking.forward(self, *pieces):
            yield piece


def watched(module: modcore.ModuleBase) -> list[Any]:
    seen: list[Any] = []
    module.register_hook(
        after=lambda m, result: seen.append(result),
        on_error=lambda m, error: seen.append(type(error)),
    )
    return seen


def test_hooks_see_a_stream_when_its_last_piece_was_taken() -> None:
    module = Counting()
    seen = watched(module)
    pieces = module(2)
    assert [next(pieces), seen, next(pieces), seen] == [0, [], 1, []]
    assert (list(pieces), seen) == ([], [[0, 1]])


def test_on_error_hooks_see_what_a_stream_raises_and_that_its_caller_stopped() -> None:
    module = Breaking()
    seen = watched(module)
    with pytest.raises(LookupError):
        list(module(1, 2))
    stopped = module(1, 2)
    next(stopped)
    stopped.close()
    assert seen == [LookupError, GeneratorExit]


async def test_hooks_see_what_an_async_stream_ends_with() -> None:
    module = Breaking()
    seen = watched(module)
    module.forward = module.later  # type: ignore[method-assign]
    with pytest.raises(LookupError):
        [piece async for piece in module(1, 2)]
    assert seen == [LookupError]


async def test_acall_awaits_a_coroutine_forward_and_lets_others_run_beside() -> None:
    class Slow(modcore.ModuleBase):
        async def forward(self, x: int) -> int:
            await asyncio.sleep(0.01)
            return x * 2

    slow, seen = Slow(), []
    slow.register_hook(after=lambda m, result: seen.append(result))
    assert await asyncio.gather(*(slow.acall(i) for i in range(5))) == [0, 2, 4, 6, 8]
    assert sorted(seen) == [0, 2, 4, 6, 8]
    assert await Echo().acall(1) == ((1,), {})


async def test_action_runs_its_flow_on_the_event_loop() -> None:
    async def double(x: int) -> int:
        return x * 2

    action = modcore.ActionModule(double, modcore.parallel(double, str).aslist)
    assert await action.acall(2) == [8, "4"]
    assert action(2) == [8, "4"]


def test_trees_show_attributes_names_and_flows() -> None:
    action = modcore.ActionModule(Echo(name="a"), modcore.parallel(Echo(name="b"), Echo(name="c")))
    assert repr(action) == (
        "<Module type=Action return_trace=False sub-category=Flow type=Pipeline items=[]>\n"
        "|- <Module type=Echo name=a>\n"
        "└- <Flow type=Parallel items=[]>\n"
        "    |- <Module type=Echo name=b>\n"
        "    └- <Module type=Echo name=c>"
    )


def test_what_several_hold_is_drawn_once_and_named_again() -> None:
    shared = Echo(name="shared")
    shared.inner = Echo(name="inner")
    one, other = Echo(name="one"), Echo(name="other")
    one.held, other.held, other.leaf = shared, shared, shared.inner
    root = Echo(name="root")
    root.both = [one, other]
    assert repr(root) == (
        "<Module type=Echo name=root>\n"
        "|- <Module type=Echo name=one>\n"
        "|   └- <Module type=Echo name=shared>\n"
        "|       └- <Module type=Echo name=inner>\n"
        "└- <Module type=Echo name=other>\n"
        "    |- <Module type=Echo name=shared> (above)\n"
        "    └- <Module type=Echo name=inner>"
    )
    assert repr(shared).count("\n") == 1  # every drawing begins anew


def test_tree_of_diamonds_is_as_long_as_it_has_modules() -> None:
    layer: list[modcore.ModuleBase] = [Echo(name="0")]
    for depth in range(1, 20):
        layer = [modcore.ActionModule(*layer, name=f"{depth}{side}") for side in "ab"]
    assert len(repr(layer[0]).split("\n")) < 100


@pytest.mark.parametrize("wrap", [lambda module: module, modcore.pipeline, modcore.ActionModule])
def test_tree_that_is_too_deep_to_read_is_cut_off(wrap: Any) -> None:
    module = Echo()
    for _ in range(2000):
        outer = Echo()
        outer.held = wrap(module)
        module = outer
    assert repr(module).endswith("└- <...>")


def test_failing_step_of_an_action_keeps_its_type_and_says_where() -> None:
    action = modcore.ActionModule(str, lambda text: {}[text])
    with pytest.raises(KeyError) as caught:
        action(1)
    assert any("step 2" in note for note in caught.value.__notes__)


async def test_stop_iteration_out_of_a_forward_does_not_hang_whoever_awaits() -> None:
    class Odd(modcore.ModuleBase):
        def forward(self) -> None:
            raise StopIteration(5)

    with pytest.raises(RuntimeError, match="Odd raised StopIteration"):
        async with asyncio.timeout(10):
            await Odd().acall()


async def test_pieces_of_an_async_generator_are_shown_too() -> None:
    class Later(modcore.ModuleBase):
        async def pieces(self) -> Any:
            for piece in range(2):
                yield piece

        def forward(self) -> Any:
            return self.pieces()

    later, shown = Later(), []
    with later.stream_output(shown.append):
        assert [piece async for piece in later()] == [0, 1]
    assert shown == [0, 1]


class Box:
    def __init__(self, value: int) -> None:
        self.value = value


class Reading(modcore.ModuleBase):
    calls = 0

    def forward(self, value: Any) -> Any:
        self.calls += 1
        return [value.value] if isinstance(value, Box) else [str(value)[:20]]


def test_cache_takes_no_object_for_what_it_was_before() -> None:
    reading, box = Reading().use_cache(), Box(1)
    assert reading(box) == [1]
    box.value = 2
    assert reading(box) == [2]


def test_cache_does_not_change_with_what_a_caller_does_to_a_result() -> None:
    reading = Reading().use_cache()
    first = reading(1)
    first.append("dirt")
    second = reading(1)
    assert second == ["1"]
    second.append("dirt")
    assert (reading(1), reading.calls) == (["1"], 1)


def test_cache_tells_what_prints_differently_apart() -> None:
    reading = Reading().use_cache()
    assert reading(Decimal("1.0")) != reading(Decimal("1.00"))


def test_cache_is_passed_by_where_arguments_hold_themselves_or_lie_too_deep() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (circle, deep):
        echo = Echo().use_cache()
        echo(value)
        echo(value)
        assert echo.calls == 2


@pytest.mark.parametrize("size", [0, -1, "x", None, True])
def test_cache_needs_a_size(size: Any) -> None:
    with pytest.raises(ValueError, match="size is"):
        Echo().use_cache(size=size)


def test_hook_that_takes_itself_out_leaves_the_next_its_turn() -> None:
    echo, seen = Echo(), []

    def once(*_: Any) -> None:
        seen.append("once")
        remove()

    remove = echo.register_hook(before=once)
    echo.register_hook(before=lambda *_: seen.append("always"))
    echo(1)
    echo(1)
    assert seen == ["once", "always", "always"]


def test_what_is_no_function_is_refused_as_hook_and_sink_at_once() -> None:
    with pytest.raises(TypeError, match="before is 5; it has to be a function"):
        Echo().register_hook(before=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sink is 5; it has to be a function"):
        Echo().stream_output(5)  # type: ignore[arg-type]


class Awaiting(modcore.ModuleBase):
    async def forward(self, value: int) -> int:
        await asyncio.sleep(0)
        return value + 1


@pytest.mark.parametrize("watched", [False, True])
def test_call_of_a_coroutine_forward_is_its_result(watched: bool) -> None:
    module, seen = Awaiting(), []
    if watched:
        module.use_cache().register_hook(after=lambda _, result: seen.append(result))
    assert module(1) == 2
    assert seen == [2] * watched


async def test_call_of_a_coroutine_forward_on_an_event_loop_is_its_result_too() -> None:
    assert Awaiting()(1) == 2
    assert await Awaiting().acall(1) == 2


def test_name_with_a_line_break_stays_on_its_line() -> None:
    assert repr(modcore.ModuleBase(name="a\nb")) == r"<Module type=ModuleBase name=a\nb>"
    assert repr(modcore.ModuleBase(name="模块")) == "<Module type=ModuleBase name=模块>"


@pytest.mark.parametrize("url", [5, None, "", "ftp://a"])
def test_what_is_no_url_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match="is no http:// or https:// URL"):
        modcore.UrlModule(url)
