"""The thread that reads images: where it cannot be as it should, and where it cannot be at all."""

from __future__ import annotations

import errno
import functools
import os
import sys
import threading

import pytest

from modcore.errors import EngineClosed, StepFailed
from modcore.vision.worker import FeatureWorker


def test_without_a_priority_of_its_own_it_works_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(which: int, who: int, priority: int) -> None:
        raise PermissionError(errno.EPERM, "a sandbox says no")

    monkeypatch.setattr(os, "setpriority", forbidden)
    worker = FeatureWorker()
    assert worker.submit(lambda: 42).result(10) == 42
    worker.close()


def test_a_thread_that_cannot_be_started_is_no_engine_that_was_closed() -> None:
    worker = FeatureWorker()
    usual = threading.stack_size(1 << 46)  # more than there is to address
    try:
        with pytest.raises(StepFailed, match=r"cannot be started: .*thread"):
            worker.submit(lambda: 1)
    finally:
        threading.stack_size(usual)
    assert worker.submit(lambda: 2).result(10) == 2  # now there is room
    worker.close()
    with pytest.raises(EngineClosed):
        worker.submit(lambda: 3)


def test_code_that_asks_the_process_to_end_ends_its_request() -> None:
    worker = FeatureWorker()
    with pytest.raises(StepFailed, match=r"asked the process to end \(SystemExit\(3\)\)"):
        worker.submit(functools.partial(sys.exit, 3)).result(10)
    assert worker.submit(lambda: 2).result(10) == 2
    worker.close()
