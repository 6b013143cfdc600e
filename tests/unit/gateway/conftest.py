"""No test of the room meets the user's own gateway, keys or state."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of the test, which is not there yet."""
    for name in ("GATEWAY", "GATEWAY_TTL", "CLUSTER_KEY", "CLUSTER_KEY_FILE", "ALLOWED_NETWORKS"):
        monkeypatch.delenv(f"MODCORE_{name}", raising=False)
    monkeypatch.setenv("MODCORE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"
