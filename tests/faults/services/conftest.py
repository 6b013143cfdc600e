"""Stores for services that lose something; a TTL that does not take a test long."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from redis_server import RedisServer, redis_server

TTL = 3.0


@pytest.fixture(autouse=True)
def short_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODCORE_GATEWAY_TTL", str(TTL))
    monkeypatch.setenv("MODCORE_CLUSTER_KEY", secrets.token_urlsafe(32))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gateway.db"
    server: RedisServer = request.getfixturevalue("redis")
    return server.url
