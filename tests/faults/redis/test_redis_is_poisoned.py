"""Whoever can write to Redis writes nonsense there: it gives way or is ignored, and services stay found."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from heartbeats import HEARTBEAT, KEY, TTL, Services
from modcore.gateway.base import Gateway, GatewayUnavailable
from modcore.gateway.instance import MAX_DOCUMENT, BadDocument, Instance, read_entry
from redis_server import RedisServer
from waiting import wait_until

pytestmark = pytest.mark.fault

HEAD = "mc:{modcore}:"


def put_list(client: redis.Redis, key: str) -> None:
    client.rpush(key, "x")


def put_text(client: redis.Redis, key: str) -> None:
    client.set(key, "x")


def put_hash(client: redis.Redis, key: str) -> None:
    client.hset(key, "x", "y")


def put_set(client: redis.Redis, key: str) -> None:
    client.zadd(key, {"x": 2**53})


@pytest.mark.parametrize("put", [put_list, put_text, put_hash, put_set])
@pytest.mark.parametrize("name", ["live", "ev", "an instance"])
def test_a_key_of_another_type_gives_way(
    server: RedisServer, gateway: Gateway, services: Services, name: str, put: Any
) -> None:
    key = HEAD + (f"i:{services.entries[0].id}" if name == "an instance" else name)
    with server.client() as client:
        client.delete(key)
        put(client, key)
    wait_until(services.are_all_there, HEARTBEAT + 0.5)
    gateway.register(services.entries[0], TTL)
    assert gateway.watch("", 1)


def test_a_sorted_set_of_another_type_is_a_store_that_is_down_not_an_empty_one(
    server: RedisServer, gateway: Gateway
) -> None:
    with server.client() as client:
        client.set(f"{HEAD}live", "x")
        client.set(f"{HEAD}ev", "x")
    with pytest.raises(GatewayUnavailable, match="another type"):
        gateway.resolve()
    with pytest.raises(GatewayUnavailable, match="another type"):
        gateway.watch("", 1)


POISON: dict[str, dict[str | bytes, str | bytes]] = {
    "empty": {"x": "y"},
    "no document": {"service": "echo", "epoch": "e"},
    "no JSON": {"service": "echo", "epoch": "e", "document": "(lambda: 1)()"},
    "pickle": {"service": "echo", "epoch": "e", "document": b"\x80\x04\x95\x01\x00."},
    "no text": {"service": b"\xff\xfe", "epoch": b"\x00\xff", "document": b"\xff" * 100},
    "deep": {"service": "echo", "epoch": "e", "document": "[" * 16_000},
    "long": {"service": "echo", "epoch": "e", "document": "x" * (MAX_DOCUMENT + 1)},
    "huge": {"service": "s" * 1_000_000, "epoch": "e" * 1_000_000, "document": "x" * 20_000_000},
}


def poison(server: RedisServer, id: str | bytes, fields: dict[str | bytes, str | bytes]) -> None:
    key = f"{HEAD}i:".encode() + (id if isinstance(id, bytes) else id.encode())
    with server.client() as client:
        client.hset(key, mapping=fields)
        client.zadd(f"{HEAD}live", {id: 2**53})


@pytest.mark.parametrize("kind", POISON)
def test_a_poisoned_document_hides_nobody_and_is_refused(
    server: RedisServer, gateway: Gateway, services: Services, kind: str
) -> None:
    poison(server, "poison", POISON[kind])
    found = {entry.id: entry for entry in gateway.resolve()}
    assert set(found) == {"poison", *(entry.id for entry in services.entries)}
    assert len(found["poison"].document) <= MAX_DOCUMENT
    with pytest.raises(BadDocument):
        read_entry(found["poison"], KEY)
    for entry in services.entries:
        assert read_entry(found[entry.id], KEY).service == "echo"


def test_a_document_of_somebody_else_is_refused(
    server: RedisServer, gateway: Gateway, services: Services
) -> None:
    stolen = services.entries[0]
    fields = {"service": stolen.service, "epoch": stolen.epoch, "document": stolen.document}
    poison(server, "another-id", fields)
    found = {entry.id: entry for entry in gateway.resolve()}
    with pytest.raises(BadDocument, match="another name"):
        read_entry(found["another-id"], KEY)


def test_ids_that_are_no_text_and_ids_of_nobody_hide_nobody(
    server: RedisServer, gateway: Gateway, services: Services
) -> None:
    poison(server, b"\xff\x00*", POISON["empty"])
    with server.client() as client:
        client.zadd(f"{HEAD}live", {f"nobody-{number}": 2**53 for number in range(1000)})
    found = {entry.id: entry for entry in gateway.resolve()}
    assert {entry.id for entry in services.entries} < set(found)
    assert not any(name.startswith("nobody") for name in found)


def test_more_instances_than_there_can_be_are_refused(
    server: RedisServer, gateway: Gateway
) -> None:
    with server.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(10_001):
            pipeline.hset(f"{HEAD}i:{number}", "document", "x")
        pipeline.zadd(f"{HEAD}live", {str(number): 2**53 for number in range(10_001)})
        pipeline.execute()
    with pytest.raises(Exception, match="more than 10000 instances; give each system a name"):
        gateway.resolve()


def test_a_stream_whose_ids_are_used_up_is_begun_again(
    server: RedisServer, gateway: Gateway
) -> None:
    last = f"{2**64 - 1}-{2**64 - 1}"
    with server.client() as client:
        client.xadd(f"{HEAD}ev", {"x": "y"}, id=last)
    assert gateway.watch("", 1) == last
    gateway.register(Instance(service="echo", url="http://127.0.0.1:1").entry(KEY), TTL)
    assert gateway.watch(last, 5) != last


def test_a_revision_of_the_future_is_no_reason_to_wait(gateway: Gateway) -> None:
    gateway.register(Instance(service="echo", url="http://127.0.0.1:1").entry(KEY), TTL)
    assert gateway.watch(f"{2**62}-0", 30) != f"{2**62}-0"


def test_the_stream_of_events_stays_short(server: RedisServer, gateway: Gateway) -> None:
    entry = Instance(service="echo", url="http://127.0.0.1:1").entry(KEY)
    for _ in range(3000):
        gateway.register(entry, TTL)
    with server.client() as client:
        assert client.xlen(f"{HEAD}ev") < 1500
        client.pexpire(f"{HEAD}i:{entry.id}", 1)
        wait_until(lambda: client.keys(f"{HEAD}i:*") == [], 5)
