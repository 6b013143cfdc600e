"""Gateways in which services of these tests meet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from redis_server import some_redis_url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with some_redis_url() as url:
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store that nobody else uses, with a key for it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gateway.db"
    monkeypatch.setenv("MODCORE_CLUSTER_KEY", secrets.token_urlsafe(32))
    url = request.getfixturevalue("redis_url")
    return f"{url}{'&' if '?' in url else '?'}namespace=test-{secrets.token_hex(8)}"
