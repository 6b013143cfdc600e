"""What the front door counts, and for how long it keeps it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateways import KEY
from modcore.gateway.directory import Directory
from modcore.gateway.memory import MemoryGateway
from modcore.serve.front_door import metrics
from modcore.serve.front_door.load import Load


@pytest.fixture
def counted() -> Iterator[metrics.Metrics]:
    directory = Directory(MemoryGateway(), KEY)
    yield metrics.Metrics(directory, Load(1))
    directory.close()


def test_names_that_nobody_bears_are_dropped_after_an_hour(
    counted: metrics.Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(metrics, "_now", lambda: clock[0])
    for name in ("stays", "goes", "comes-back"):
        counted.observe(name, 200, 0.1)
        counted.observe(name, 503, 0.1)
        counted.count_retry(name, "died")
        counted.count_eviction(name)
    counted.keep(["stays"])
    clock[0] = 1800.0
    counted.keep(["stays", "comes-back"])
    clock[0] = 3601.0
    counted.keep(["stays"])
    told = counted.expose("")[0].decode()
    assert 'service="goes"' not in told
    for name in ("stays", "comes-back"):
        assert f'modcore_front_door_requests_total{{service="{name}",status="503"}} 1.0' in told
    counted.observe("goes", 200, 0.1)
    told = counted.expose("")[0].decode()
    assert 'modcore_front_door_requests_total{service="goes",status="200"} 1.0' in told


def test_thousands_of_generated_names_leave_nothing(
    counted: metrics.Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_now", lambda: 0.0)
    for number in range(3000):
        counted.observe(f"service-{number}", 200, 0.1)
    counted.keep([])
    monkeypatch.setattr(metrics, "_now", lambda: 3600.0)
    counted.keep([])
    assert b"service-" not in counted.expose("")[0]
