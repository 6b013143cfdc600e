"""From a URL to a gateway, and what is said of a URL that leads to none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import modcore
from gateways import KEY, instance
from modcore.gateway import connect, gateway_url
from modcore.gateway.addresses import absolute, shown
from modcore.gateway.base import GatewayError
from modcore.gateway.memory import MemoryGateway
from modcore.gateway.settings import ttl
from modcore.gateway.sqlite import SqliteGateway
from modcore.plugins import PluginManager, list_plugins


@pytest.fixture(autouse=True)
def unconfigured() -> object:
    yield
    modcore.configure(gateway=None)


def test_a_scheme_leads_to_its_gateway(tmp_path: Path) -> None:
    assert isinstance(connect("memory://"), MemoryGateway)
    assert isinstance(connect(f"SQLITE:///{tmp_path}/x.db"), SqliteGateway)


def test_memory_gateways_of_one_name_share_a_store_and_others_do_not() -> None:
    entry = instance().entry(KEY)
    connect("memory://mine").register(entry, 6)

    assert connect("memory://mine").resolve() == [entry]
    assert connect("memory://yours").resolve() == []


def refused(url: str) -> str:
    with pytest.raises(GatewayError) as caught:
        connect(url)
    return str(caught.value)


@pytest.mark.parametrize(
    "scheme", ["redis", "rediss", "redis+sentinel", "rediss+cluster", "valkey", "valkeys+sentinel"]
)
def test_redis_without_its_plugin_names_the_package_and_no_password(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = PluginManager([entry for entry in list_plugins() if entry.dist == "modcore"])
    monkeypatch.setattr("modcore.plugins.manager.plugin_manager", lambda: bare)
    message = refused(f"{scheme}://me:hush@127.0.0.1:6379/0")
    assert message.endswith("install the package that does: pip install modcore-redis-gateway")
    assert "hush" not in message


def test_an_unknown_scheme_is_refused_with_a_near_one() -> None:
    assert refused("sqlit:///x.db") == (
        "No installed plugin brings the gateway sqlit://; did you mean sqlite://?"
    )
    assert "there are memory://, " in refused("zookeeper://x")


@pytest.mark.parametrize("url", ["", "redis", "/var/lib/services.db", "://x", "hunter2-password"])
def test_what_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    assert "has no scheme" in refused(url)
    assert "password" not in refused(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://services.db", "write sqlite:///services.db for a file in this directory"),
        ("sqlite://", "write sqlite:///services.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "is memory://"),
        ("sqlite:///x.db?mode=ro", "takes no options"),
        ("sqlite:///x\0.db", "a NUL"),
    ],
)
def test_a_sqlite_url_that_names_no_file_is_refused(url: str, says: str) -> None:
    assert says in refused(url)


def test_a_relative_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///a b%20.db") == f"sqlite:///{tmp_path}/a b%20.db"
    assert absolute("sqlite:////var/x.db") == "sqlite:////var/x.db"
    assert absolute("redis://h/0") == "redis://h/0"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hush@h:1/0?password=hush", "redis://h:1/0"),
        ("redis://u:hu@sh@h/0#hush", "redis://h/0"),
        ("redis://:hu/sh@h/0", "redis://…"),
        ("redis://:hu?sh@h", "redis://…"),
        ("redis+sentinel://u:hush@a:1,b:2/main/0", "redis+sentinel://a:1,b:2/main/0"),
        ("sqlite:////var/x@y.db", "sqlite:////var/x@y.db"),
        ("memory://", "memory://"),
    ],
)
def test_a_url_that_is_shown_holds_no_secret(url: str, seen: str) -> None:
    assert shown(url) == seen


def test_the_gateway_in_use_is_the_configured_one_over_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gateway_url() is None
    monkeypatch.setenv("MODCORE_GATEWAY", "sqlite:///x.db")
    assert gateway_url() == f"sqlite:///{tmp_path}/x.db"
    modcore.configure(gateway="memory://")
    assert gateway_url() == "memory://"
    modcore.configure(gateway="")
    assert gateway_url() is None
    modcore.configure(gateway=None)
    assert gateway_url() == f"sqlite:///{tmp_path}/x.db"
    with pytest.raises(GatewayError, match="has no scheme"):
        modcore.configure(gateway="services.db")


def test_the_time_to_live_is_six_seconds_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ttl() == 6.0
    monkeypatch.setenv("MODCORE_GATEWAY_TTL", "1.5")
    assert ttl() == 1.5
    for bad in ("0", "-1", "soon", "nan", "inf", "1e9"):
        monkeypatch.setenv("MODCORE_GATEWAY_TTL", bad)
        with pytest.raises(GatewayError, match=f"MODCORE_GATEWAY_TTL is '{bad}'"):
            ttl()


def test_importing_the_room_loads_no_store_and_no_plugin_manager() -> None:
    code = (
        "import sys, modcore; modcore.configure(gateway='memory://');"
        "heavy = {'sqlite3', 'http.client', 'pluggy', 'asyncio', 'modcore.gateway.directory'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
