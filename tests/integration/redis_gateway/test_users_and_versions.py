"""Passwords, users with few rights, servers that are too old or something else: sentences, and no secrets."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder import forwarding
from modcore.gateway.base import Entry, GatewayError, GatewayUnavailable
from modcore_redis_gateway import store
from modcore_redis_gateway.gateway import RedisGateway
from redis_server import RedisServer, redis_server

PASSWORD = "geheim-4711"
ONE = Entry(service="echo", id="one", epoch="first", document="{}")
README = Path(__file__).parents[3] / "plugins" / "modcore-redis-gateway" / "README.md"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server(password=PASSWORD) as server:
        yield server


def add_user(server: RedisServer, line: str) -> str:
    """Add a user as ACL SETUSER does; returns a URL with which it comes."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", *line.split())
    return f"redis://{line.split()[0]}:{PASSWORD}@127.0.0.1:{server.port}"


def refusal(url: str) -> str:
    """The error that registering there ends with; no secret may be in it, nor in its traceback."""
    gateway = RedisGateway(url)
    with pytest.raises(GatewayError) as told:
        gateway.register(ONE, 5)
    gateway.close()
    assert not isinstance(told.value, GatewayUnavailable)
    assert PASSWORD not in "".join(traceback.format_exception(told.value))
    return str(told.value)


def test_the_right_password_opens(server: RedisServer) -> None:
    gateway = RedisGateway(server.url)
    gateway.register(ONE, 5)
    assert list(gateway.resolve()) == [ONE]
    gateway.close()


def test_a_wrong_password_is_told_as_such(server: RedisServer) -> None:
    said = refusal(f"redis://:{PASSWORD}x@127.0.0.1:{server.port}")
    assert "refuses the password of the user default" in said


def test_a_missing_password_is_told_as_such(server: RedisServer) -> None:
    assert "asks for a password" in refusal(f"redis://127.0.0.1:{server.port}")


def test_the_user_of_the_readme_may_do_all_that_is_needed(server: RedisServer) -> None:
    found = re.search(r"^    ACL SETUSER (modcore .*)$", README.read_text(), re.M)
    assert found
    gateway = RedisGateway(add_user(server, found[1].replace("PASSWORD", PASSWORD)) + "/2")
    with server.client() as client:
        client.script_flush()
    gateway.register(ONE, 5)
    assert gateway.heartbeat(ONE, 5)
    assert list(gateway.resolve("echo")) == [ONE]
    revision = gateway.watch("", 5)
    assert gateway.watch(revision, 0.01) == revision
    gateway.deregister(ONE)
    assert gateway.watch(revision, 5) != revision
    gateway.close()


@pytest.mark.parametrize(
    ("rights", "what"),
    [
        ("~* +@all -evalsha", "evalsha"),
        ("~* +@all -@scripting", "evalsha"),
        ("~* +@all -zadd", "can't run this command|'zadd'"),
        ("~other:* +@all", "key"),
        ("~* +@all -client", "client"),
    ],
)
def test_a_right_that_is_missing_is_told_as_such(
    server: RedisServer, rights: str, what: str
) -> None:
    said = refusal(add_user(server, f"weak reset on >{PASSWORD} {rights}"))
    assert "the user weak may not do what a gateway does" in said
    assert re.search(what, said)
    assert "ACL SETUSER" in said


def test_a_user_who_may_not_ask_for_the_version_is_served(server: RedisServer) -> None:
    gateway = RedisGateway(add_user(server, f"quiet reset on >{PASSWORD} ~* +@all -info"))
    gateway.register(ONE, 5)
    gateway.close()


def test_a_server_that_is_too_old_is_told_what_is_needed(server: RedisServer) -> None:
    def age(answer: bytes) -> bytes:
        return re.sub(rb"redis_version:\d", b"redis_version:5", answer)

    with forwarding(server.port, rewrite=age) as port:
        said = refusal(f"redis://:{PASSWORD}@127.0.0.1:{port}")
    assert re.search(r"is version 5\.[\d.]+; a gateway needs 6\.2 or newer, or Valkey", said)
    assert store.OLDEST == (6, 2)


def test_a_database_that_is_not_there_is_told_as_such(server: RedisServer) -> None:
    assert "it has no database 99" in refusal(f"{server.url}/99")


def test_something_else_than_redis_is_told_as_such() -> None:
    def garble(answer: bytes) -> bytes:
        return b"HTTP/1.1 400 Bad Request\r\n\r\n"

    with redis_server() as server, forwarding(server.port, rewrite=garble) as port:
        assert "does not speak Redis's protocol" in refusal(f"redis://127.0.0.1:{port}")


def test_a_sentinel_in_place_of_a_server_is_told_as_such() -> None:
    with redis_server(sentinel=True) as sentinel:
        assert "is a Sentinel; use redis+sentinel://" in refusal(sentinel.url)
