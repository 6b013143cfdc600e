"""Which Redis is trusted with a registry."""

from __future__ import annotations

import pytest

from modcore.gateway.base import GatewayError
from modcore_redis_gateway.gateway import RedisGateway


@pytest.fixture(autouse=True)
def no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODCORE_INSECURE_GATEWAY", raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "redis://10.0.0.5",
        "redis://redis.example:6379/0",
        "redis://[2001:db8::1]",
        "redis://0.0.0.0",
        "redis://localhost.example",
        "rediss://10.0.0.5",
        "redis://user@10.0.0.5",
        "redis://10.0.0.5?ssl_certfile=client.pem",
        "redis+sentinel://127.0.0.1,10.0.0.5/main",
        "redis+sentinel://10.0.0.5/main?sentinel_password=x",
        "redis+cluster://10.0.0.5",
    ],
)
def test_another_machine_that_asks_nobody_is_refused(url: str) -> None:
    with pytest.raises(GatewayError, match="without authentication") as told:
        RedisGateway(url)
    assert "MODCORE_INSECURE_GATEWAY=1" in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://127.8.8.8",
        "redis://LOCALHOST",
        "redis://[::1]",
        "redis://:secret@10.0.0.5",
        "rediss://user:secret@redis.example",
        "rediss://10.0.0.5?ssl_certfile=client.pem&ssl_keyfile=client.key",
    ],
)
def test_this_machine_and_one_that_asks_are_trusted(url: str) -> None:
    RedisGateway(url).close()


def test_the_risk_can_be_accepted_with_1_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODCORE_INSECURE_GATEWAY", "1")
    RedisGateway("redis://10.0.0.5").close()
    monkeypatch.setenv("MODCORE_INSECURE_GATEWAY", "0")
    with pytest.raises(GatewayError):
        RedisGateway("redis://10.0.0.5")
