"""Clusters of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import front_doors
from front_doors import Cluster, Process
from waiting import wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own."""
    with front_doors.cluster(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with front_doors.cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def echo(shared: Cluster) -> Process:
    """A service that all tests of a file share."""
    return shared.service("echo", "--model", "parrot")


@pytest.fixture(scope="module")
def door(shared: Cluster, echo: Process) -> Process:
    """A front door without a key before it."""
    door = shared.front_door()
    wait_until(lambda: door.instances("echo"))
    return door
