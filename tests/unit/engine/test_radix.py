"""The prefix cache against a plain list of the texts that went in."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from modcore.engine.holdings import Holdings
from modcore.engine.memory import MemoryManager, RequestTable
from modcore.engine.radix import Node, PrefixCache

TEXTS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def cache(tokens: int = 500) -> PrefixCache:
    return PrefixCache(MemoryManager(tokens, 1, 1, 1, torch.float32, torch.device("cpu")))


def put(tree: PrefixCache, text: list[int]) -> Node:
    """Insert `text` as a request would: with the rows that are known, and new ones behind them."""
    known = tree.match(np.array(text)).rows
    rows = torch.cat([known, tree.memory.alloc(len(text) - len(known))])
    node, own = tree.insert(np.array(text), rows)
    assert len(own) == len(text)
    return node


def common(left: list[int], right: list[int]) -> int:
    size = 0
    while size < min(len(left), len(right)) and left[size] == right[size]:
        size += 1
    return size


@given(st.lists(TEXTS, max_size=12), TEXTS)
def test_longest_known_beginning_is_found(texts: list[list[int]], wanted: list[int]) -> None:
    tree = cache()
    for text in texts:
        put(tree, text)
    match = tree.match(np.array(wanted))
    assert len(match.rows) == max((common(text, wanted) for text in texts), default=0)
    assert tree.tokens == len({tuple(text[: n + 1]) for text in texts for n in range(len(text))})
    assert tree.memory.free_tokens == tree.memory.tokens - tree.tokens


@given(st.lists(TEXTS, min_size=1, max_size=12), st.integers(0, 30), st.randoms())
def test_eviction_keeps_what_is_held_and_gives_the_rest_back(
    texts: list[list[int]], count: int, random: object
) -> None:
    tree = cache()
    nodes = [put(tree, text) for text in texts]
    held = [i for i in range(len(texts)) if random.random() < 0.4]  # type: ignore[attr-defined]
    for i in held:
        tree.hold(nodes[i])
    kept = {tuple(texts[i][: n + 1]) for i in held for n in range(len(texts[i]))}
    assert tree.held_tokens == len(kept)
    free = tree.memory.free_tokens
    evictable = tree.evictable_tokens
    assert tree.evict(count) == min(count, evictable)
    assert tree.memory.free_tokens == free + min(count, evictable)
    for i in held:
        assert len(tree.match(np.array(texts[i])).rows) == len(texts[i])
        tree.release(nodes[i])
    assert tree.held_tokens == 0
    tree.clear()
    assert tree.memory.free_tokens == tree.memory.tokens
    assert tree.tokens == 0


def test_least_recently_used_goes_first() -> None:
    tree = cache()
    for text in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        put(tree, text)
    tree.match(np.array([1, 1, 1]))
    assert tree.evict(3) == 3
    assert len(tree.match(np.array([2, 2, 2])).rows) == 0
    assert len(tree.match(np.array([1, 1, 1])).rows) == 3


def test_end_of_a_long_text_is_given_up_before_its_beginning() -> None:
    tree = cache()
    put(tree, list(range(100)))
    tree.evict(30)
    assert len(tree.match(np.arange(100)).rows) == 70


def test_rows_computed_twice_are_given_back() -> None:
    tree = cache()
    put(tree, [1, 2, 3])
    again = tree.memory.alloc(4)
    node, rows = tree.insert(np.array([1, 2, 3, 4]), again)
    assert rows.tolist()[3] == int(again[3])
    assert tree.memory.free_tokens == tree.memory.tokens - 4
    assert [len(each.ids) for each in node.path()] == [1, 3]


def test_many_touches_do_not_grow_the_bookkeeping() -> None:
    tree = cache()
    node = put(tree, [1, 2, 3])
    for _ in range(10_000):
        tree.match(np.array([1, 2, 3]))
        tree.hold(node)
        tree.release(node)
    assert len(tree._leaves) < 1000


class EvictedWhenCounted(PrefixCache):
    """As if a step gave up what nobody holds just after it has been counted."""

    @property
    def evictable_tokens(self) -> int:
        count = super().evictable_tokens
        self.evict(count)
        return count


def test_rows_that_a_step_gives_up_while_they_are_counted_are_not_counted_twice() -> None:
    memory = MemoryManager(20, 1, 1, 1, torch.float32, torch.device("cpu"))
    tree = EvictedWhenCounted(memory)
    put(tree, [1, 2, 3])
    assert Holdings(memory, RequestTable(1), tree).tokens_in_use == 0
