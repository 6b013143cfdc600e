"""No test of the room meets the user's own gateway, keys or state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateways import TroubledGateway
from modcore.gateway.memory import MemoryGateway, MemoryStore


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of the test, which is not there yet."""
    for name in ("GATEWAY", "GATEWAY_TTL", "CLUSTER_KEY", "CLUSTER_KEY_FILE", "ALLOWED_NETWORKS"):
        monkeypatch.delenv(f"MODCORE_{name}", raising=False)
    monkeypatch.setenv("MODCORE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def gateway(store: MemoryStore) -> Iterator[TroubledGateway]:
    gateway = TroubledGateway(MemoryGateway("memory://", store))
    yield gateway
    gateway.answers.set()
