"""Checkpoints by wall time: what can be lost is at most a minute."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from modcore.training import cadence
from modcore.training.cadence import SaveEveryMinute


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def run(monkeypatch: pytest.MonkeyPatch, *, step: float, saving: float, steps: int) -> list[float]:
    """The moments at which checkpoints begin, in a run of even steps."""
    clock = Clock()
    monkeypatch.setattr(cadence, "time", clock)
    callback, begun = SaveEveryMinute(), []
    callback.on_train_begin(None, None, None)
    for _ in range(steps):
        clock.now += step
        control = SimpleNamespace(should_save=False)
        callback.on_step_end(None, None, control)
        if control.should_save:
            begun.append(clock.now - 1000)
            clock.now += saving
            callback.on_save(None, None, control)
    return begun


def test_a_short_run_writes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, step=1, saving=0.1, steps=50) == []


@pytest.mark.parametrize(("step", "saving"), [(0.5, 0.1), (7, 3), (25, 10)])
def test_no_more_than_a_minute_passes_until_the_next_is_written(
    monkeypatch: pytest.MonkeyPatch, step: float, saving: float
) -> None:
    begun = run(monkeypatch, step=step, saving=saving, steps=600)
    assert len(begun) > 1
    # The first comes before anybody knows how long writing takes.
    later = pairwise(begun[1:])
    assert all(after - (before + saving) + saving <= 60 for before, after in later)


def test_slow_writing_takes_no_more_time_than_training(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = run(monkeypatch, step=1, saving=200, steps=1000)
    assert all(after - before >= 2 * 200 for before, after in pairwise(begun[1:]))
