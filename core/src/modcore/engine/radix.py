"""The prefix cache: a radix tree from token ids to the KV rows that hold them.

Texts that begin alike share the rows of what they share, token by token. A node's rows stay while a
running request holds it; the others are given up, least recently used first, when room is needed.
Source: RadixAttention (arXiv 2312.07104).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from modcore.engine.memory import MemoryManager

Ids = npt.NDArray[np.int64]

_NO_IDS = np.empty(0, dtype=np.int64)
_NO_ROWS = torch.empty(0, dtype=torch.int64)


class Node:
    """A stretch of tokens behind its parent's; `rows` (``[len(ids)]``) hold their keys and values."""

    __slots__ = ("children", "holders", "ids", "last_used", "parent", "rows")

    def __init__(self, ids: Ids, rows: torch.Tensor, parent: Node | None) -> None:
        self.ids, self.rows, self.parent = ids, rows, parent
        self.children: dict[int, Node] = {}
        self.holders = 0  # running requests whose text passes through here
        self.last_used = 0

    def path(self) -> Iterator[Node]:
        """Itself and the nodes above it, the root left out."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent


@dataclass(frozen=True, slots=True)
class Match:
    """The longest known beginning of a text: where it ends in the tree, and its rows ``[len]``."""

    node: Node
    rows: torch.Tensor


class PrefixCache:
    """The tree. It owns the rows that are inserted, until it gives them back to `memory`."""

    def __init__(self, memory: MemoryManager) -> None:
        self.memory = memory
        self.root = Node(_NO_IDS, _NO_ROWS, None)
        self.tokens = 0  # in the tree
        self.held_tokens = 0  # of those, in nodes that a running request holds
        self.queried_tokens = self.hit_tokens = 0  # over the cache's life
        self._clock = itertools.count(1)
        self._leaves: list[tuple[int, int, Node]] = []  # a heap; entries may be out of date
        self._serial = itertools.count()

    @property
    def evictable_tokens(self) -> int:
        """Rows that could be given back now."""
        return self.tokens - self.held_tokens

    def count(self, asked: int, found: int) -> None:
        """A request starts: of `asked` tokens, `found` were here."""
        self.queried_tokens += asked
        self.hit_tokens += found

    def match(self, ids: Ids) -> Match:
        """The longest beginning of `ids` that the tree holds."""
        node, rows, place = self.root, [_NO_ROWS], 0
        while place < len(ids) and (child := node.children.get(int(ids[place]))):
            same = _common(child.ids, ids[place:])
            if same < len(child.ids):
                child = self._split(child, same)
            node, place = child, place + same
            rows.append(child.rows)
        self._touch(node)
        return Match(node, torch.cat(rows))

    def insert(self, ids: Ids, rows: torch.Tensor) -> tuple[Node, torch.Tensor]:
        """Take over `rows` (``[len(ids)]``) of the text `ids`.

        What the tree holds already is not taken twice: those of `rows` that are not the tree's own
        are given back to the memory. Returns the node of the whole text, and its rows in the tree.
        """
        match = self.match(ids)
        known = len(match.rows)
        spare = rows[:known][rows[:known] != match.rows]
        self.memory.free(spare)
        if known == len(ids):
            return match.node, match.rows
        node = Node(ids[known:], rows[known:].clone(), match.node)
        match.node.children[int(ids[known])] = node
        self.tokens += len(node.ids)
        self._touch(node)
        self._offer(node)
        return node, torch.cat([match.rows, node.rows])

    def hold(self, node: Node) -> None:
        """Keep the text that ends at `node` until it is released."""
        for each in node.path():
            if each.holders == 0:
                self.held_tokens += len(each.ids)
            each.holders += 1

    def release(self, node: Node) -> None:
        """Undo one `hold`."""
        for each in node.path():
            each.holders -= 1
            if each.holders == 0:
                self.held_tokens -= len(each.ids)
                self._offer(each)

    def evict(self, count: int) -> int:
        """Give back up to `count` rows, least recently used first; returns how many it was."""
        freed = 0
        while freed < count and self._leaves:
            last_used, _, node = heapq.heappop(self._leaves)
            if not self._is_evictable(node) or node.last_used != last_used:
                continue
            freed += self._give_back(node, count - freed)
        return freed

    def rows(self) -> torch.Tensor:
        """All rows that the tree owns."""
        rows, nodes = [_NO_ROWS], list(self.root.children.values())
        while nodes:
            node = nodes.pop()
            rows.append(node.rows)
            nodes += node.children.values()
        return torch.cat(rows)

    def clear(self) -> None:
        """Give back all that nobody holds."""
        self.evict(self.tokens)

    def _give_back(self, leaf: Node, count: int) -> int:
        """Cut up to `count` tokens off the end of `leaf`."""
        keep = max(0, len(leaf.ids) - count)
        gone = leaf.rows[keep:]
        self.memory.free(gone)
        self.tokens -= len(gone)
        if keep:
            leaf.ids, leaf.rows = leaf.ids[:keep], leaf.rows[:keep].clone()
            self._offer(leaf)
        else:
            assert leaf.parent is not None
            del leaf.parent.children[int(leaf.ids[0])]
            self._offer(leaf.parent)
            leaf.parent = None
        return len(gone)

    def _split(self, node: Node, place: int) -> Node:
        """Make the first `place` tokens of `node` a node of their own; those who hold `node` keep it."""
        assert node.parent is not None
        upper = Node(node.ids[:place], node.rows[:place], node.parent)
        upper.holders, upper.last_used = node.holders, node.last_used
        node.parent.children[int(node.ids[0])] = upper
        node.ids, node.rows, node.parent = node.ids[place:], node.rows[place:], upper
        upper.children[int(node.ids[0])] = node
        return upper

    def _touch(self, node: Node) -> None:
        now = next(self._clock)
        for each in node.path():
            each.last_used = now
            self._offer(each)

    def _offer(self, node: Node) -> None:
        if not self._is_evictable(node):
            return
        heapq.heappush(self._leaves, (node.last_used, next(self._serial), node))
        if len(self._leaves) > 64 + 2 * self.tokens:  # mostly out of date
            current = {id(leaf): (used, n, leaf) for used, n, leaf in self._leaves
                       if self._is_evictable(leaf) and leaf.last_used == used}  # fmt: skip
            self._leaves = list(current.values())
            heapq.heapify(self._leaves)

    def _is_evictable(self, node: Node) -> bool:
        return node.holders == 0 and not node.children and node.parent is not None


def _common(left: Ids, right: Ids) -> int:
    """How many first elements are equal."""
    size = min(len(left), len(right))
    differs = np.flatnonzero(left[:size] != right[:size])
    return int(differs[0]) if len(differs) else size
