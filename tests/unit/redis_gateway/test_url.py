"""URLs of a Redis: what they say, and what is wrong with those that say nothing."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.errors import ModcoreError
from modcore.gateway.base import GatewayError
from modcore_redis_gateway.gateway import RedisGateway
from modcore_redis_gateway.url import Address, RedisUrl, parse

LOCAL = Address("127.0.0.1", 6379)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1", RedisUrl(nodes=(LOCAL,))),
        ("valkey://127.0.0.1:6379/", RedisUrl(nodes=(LOCAL,))),
        ("redis://localhost:7000/3", RedisUrl(nodes=(Address("localhost", 7000),), database=3)),
        ("redis://[::1]:7000", RedisUrl(nodes=(Address("::1", 7000),))),
        (
            "valkeys://u%40x:p%2F%3A@127.0.0.1/0",
            RedisUrl(nodes=(LOCAL,), tls=True, username="u@x", password="p/:"),
        ),
        ("redis://:p@w:d@127.0.0.1", RedisUrl(nodes=(LOCAL,), password="p@w:d")),
        (
            "redis+sentinel://:pw@[::1],b.example:7/main/2",
            RedisUrl(
                kind="sentinel",
                nodes=(Address("::1", 26379), Address("b.example", 7)),
                password="pw",
                master="main",
                database=2,
            ),
        ),
        (
            "rediss+cluster://127.0.0.1,127.0.0.2:7",
            RedisUrl(kind="cluster", nodes=(LOCAL, Address("127.0.0.2", 7)), tls=True),
        ),
    ],
)
def test_a_url_says(url: str, said: RedisUrl) -> None:
    found = parse(url)
    assert (found.kind, found.nodes, found.tls, found.database) == (
        said.kind,
        said.nodes,
        said.tls,
        said.database,
    )
    assert (found.username, found.password) == (said.username, said.password)
    assert found.kind != "sentinel" or found.master == said.master
    assert found.namespace == "modcore"


def test_sentinels_without_a_name_look_for_mymaster() -> None:
    assert parse("redis+sentinel://127.0.0.1").master == "mymaster"


def test_options_name_the_namespace_and_files() -> None:
    url = parse("rediss://127.0.0.1/?namespace=prod.eu-1&ssl_ca_certs=%2Fetc%2Fca.pem")
    assert url.namespace == "prod.eu-1"
    assert url.tls_files == {"ssl_ca_certs": "/etc/ca.pem"}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis:/127.0.0.1", "none of redis://"),
        ("redis+ring://127.0.0.1", "none of redis://"),
        ("redis://", "no host"),
        ("redis://:geheim@", "no host"),
        ("redis://:ge/heim@127.0.0.1", "no host"),
        ("redis://:ge#heim@127.0.0.1", "none of redis://"),
        ("redis://127.0.0.1:70000", "no port has the number 70000"),
        ("redis://127.0.0.1:0", "no port has the number 0"),
        ("redis://a,b", "several hosts"),
        ("redis://127.0.0.1/zero", "the number of a database"),
        ("redis://127.0.0.1/0/1", "the number of a database"),
        ("redis+sentinel://127.0.0.1/main/0/1", "the number of a database"),
        ("redis+cluster://127.0.0.1/1", "no database but 0"),
        ("redis://127.0.0.1?namespce=x", "namespace is meant"),
        ("redis://127.0.0.1?socket_timeout=60", "there are namespace, "),
        ("redis://127.0.0.1?namespace=a&namespace=b", "twice"),
        ("redis://127.0.0.1?namespace=", "empty"),
        ("redis://127.0.0.1?namespace=a}b", "other characters"),
        ("redis://127.0.0.1?ssl_cert_reqs=none", "no option 'ssl_cert_reqs'"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_secrets(url: str, reason: str) -> None:
    with pytest.raises(GatewayError, match=reason) as told:
        RedisGateway(url)
    assert "heim" not in "".join(traceback.format_exception(told.value))


@given(st.text(max_size=80))
def test_any_text_is_a_url_or_an_error_of_ours(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://127.0.0.1{text}"):
        try:
            assert parse(url).nodes
        except ModcoreError as error:
            assert "gateway's URL" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:geheim@127.0.0.1",
        "redis+sentinel://user:geheim@127.0.0.1/main?sentinel_password=geheim",
    ],
)
def test_no_secret_in_what_a_person_sees(url: str) -> None:
    gateway = RedisGateway(url)
    assert "geheim" not in repr(gateway) + repr(parse(url)) + repr(vars(gateway))
    assert "user" not in repr(gateway)
    assert "127.0.0.1" in repr(gateway)
