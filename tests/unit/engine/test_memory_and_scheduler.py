"""Rows are taken and given back without a leak, and nobody is admitted who could be starved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modcore.engine.memory import HOLD_ROW, MemoryManager, RequestTable
from modcore.engine.request import Request
from modcore.engine.sampling import SamplingParams, SamplingState
from modcore.engine.scheduler import Scheduler
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


def request(prompt: int, limit: int) -> Request:
    return Request([1] * prompt, SamplingState(SamplingParams(), [1] * prompt, 2), limit)


def scheduler(tokens: int, lines: int = 8) -> Scheduler:
    return Scheduler(memory(tokens), RequestTable(lines, tokens, CPU))


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 20)), max_size=25),
    st.integers(1, 4),
)
def test_every_request_ends_and_leaves_nothing_behind(
    requests: list[tuple[int, int, int]], lines: int
) -> None:
    plan = scheduler(tokens=24, lines=lines)
    abort_at = {}
    for prompt, limit, abort_step in requests:
        new = request(prompt, limit)
        abort_at[new] = abort_step
        plan.add(new)
    for step in range(2000):
        if not plan.has_work:
            break
        for each in [each for each, when in abort_at.items() if when == step]:
            plan.finish(each)
        for each in plan.admit() or (plan.extend() if plan.running else []):
            each.accept(0)
            if each.is_done:
                plan.finish(each)
    assert not plan.has_work
    assert plan.memory.free_tokens == 24
    assert plan.table.free_lines == lines


def test_request_waits_until_its_whole_answer_fits() -> None:
    plan = scheduler(tokens=10)
    first, second = request(3, 4), request(2, 3)
    plan.add(first)
    plan.add(second)
    assert plan.admit() == [first]
    plan.finish(first)
    assert plan.admit() == [second]


def test_first_come_is_first_served_even_when_a_later_one_would_fit() -> None:
    plan = scheduler(tokens=10)
    running, large, small = request(4, 2), request(5, 3), request(1, 1)
    for each in (running, large, small):
        plan.add(each)
    assert plan.admit() == [running]
    assert plan.admit() == []


def test_finishing_twice_frees_once() -> None:
    plan = scheduler(tokens=10)
    only = request(4, 2)
    plan.add(only)
    plan.admit()
    plan.finish(only)
    plan.finish(only)
    assert plan.memory.free_tokens == 10
