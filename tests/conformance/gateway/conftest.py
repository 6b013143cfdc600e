"""The gateways that the conformance tests run against, each on its real store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modcore.gateway.base import Gateway
from modcore.gateway.connect import connect
from redis_server import some_redis_url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with some_redis_url() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that nobody else uses."""
    name = f"test-{secrets.token_hex(8)}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        return f"{url}{'&' if '?' in url else '?'}namespace={name}"
    return {"memory": f"memory://{name}", "sqlite": f"sqlite:///{tmp_path}/{name}.db"}[
        request.param
    ]


@pytest.fixture
def open_gateway(place: str) -> Iterator[Callable[[], Gateway]]:
    """A function that opens the store once more, as another process would."""
    opened: list[Gateway] = []

    def open_one() -> Gateway:
        gateway = connect(place)
        opened.append(gateway)
        return gateway

    yield open_one
    for gateway in opened:
        gateway.close()


@pytest.fixture
def gateway(open_gateway: Callable[[], Gateway]) -> Gateway:
    return open_gateway()
