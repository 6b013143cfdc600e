"""A Redis that is maltreated, and services that are registered there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from heartbeats import Services
from modcore.gateway.base import Gateway
from modcore_redis_gateway.gateway import RedisGateway
from redis_server import RedisServer, redis_server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def gateway(server: RedisServer) -> Iterator[Gateway]:
    gateway = RedisGateway(server.url)
    yield gateway
    gateway.close()


@pytest.fixture
def services(gateway: Gateway) -> Iterator[Services]:
    services = Services(gateway, 3)
    yield services
    services.stop()
