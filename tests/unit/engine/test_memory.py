"""Rows are taken and given back without a leak."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modcore.engine.memory import HOLD_ROW, MemoryManager
from modcore.errors import ModcoreError

CPU = torch.device("cpu")


def memory(tokens: int) -> MemoryManager:
    return MemoryManager(tokens, 1, 1, 2, torch.float32, CPU)


@given(st.lists(st.integers(1, 9), max_size=30), st.randoms())
def test_rows_are_never_held_twice_and_all_come_back(sizes: list[int], random: object) -> None:
    manager = memory(40)
    held: list[torch.Tensor] = []
    for size in sizes:
        if size > manager.free_tokens:
            random.shuffle(held)  # type: ignore[attr-defined]
            while held and size > manager.free_tokens:
                manager.free(held.pop())
        held.append(manager.alloc(size))
        rows = torch.cat(held).tolist()
        assert len(set(rows)) == len(rows)
        assert HOLD_ROW not in rows
        assert manager.free_tokens == 40 - len(rows)
    for rows in held:
        manager.free(rows)
    assert sorted(manager.alloc(40).tolist()) == list(range(1, 41))


def test_more_rows_than_there_are_is_an_error_with_the_numbers() -> None:
    with pytest.raises(ModcoreError, match="3 of 3 rows free and 4"):
        memory(3).alloc(4)


def test_rows_that_nobody_holds_cannot_be_given_back() -> None:
    manager = memory(5)
    rows = manager.alloc(3)
    manager.free(rows)
    for wrong in (rows, torch.tensor([HOLD_ROW])):
        with pytest.raises(ModcoreError, match="nobody holds"):
            manager.free(wrong)
    assert manager.free_tokens == 5
