"""URLs of a Redis: one server, Sentinels or a Cluster, with what a connection needs.

    redis://[user:password@]host[:port][/database]
    redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database]
    redis+cluster://[user:password@]host[:port][,host[:port]…]

``rediss`` asks for TLS; ``valkey`` and ``valkeys`` are other words for ``redis`` and ``rediss``. Nothing
here shows a part of a URL in which a password could stand.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from modcore.gateway.base import GatewayError

SERVER, SENTINEL, CLUSTER = "server", "sentinel", "cluster"
OPTIONS = (
    "namespace",
    "sentinel_username",
    "sentinel_password",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
)
_URL = re.compile(
    r"(?P<name>redis|valkey)(?P<tls>s?)(\+(?P<kind>sentinel|cluster))?://"
    r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(\?(?P<query>[^#]*))?"
)
_NODE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%\w+)?\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PORTS = {SERVER: 6379, SENTINEL: 26379, CLUSTER: 6379}


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """What a URL says. `nodes` are the server itself, or who is asked where it is."""

    kind: str = SERVER
    nodes: tuple[Address, ...]
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    master: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def namespace(self) -> str:
        """Whose keys: several systems may share a Redis."""
        return self.options.get("namespace", "modcore")

    @property
    def tls_files(self) -> Mapping[str, str]:
        """The files that the URL names, as redis-py calls them."""
        return {name: value for name, value in self.options.items() if name.startswith("ssl_")}

    @property
    def name(self) -> str:
        """How a person is told of it: no user, no password."""
        scheme = "rediss" if self.tls else "redis"
        kind = "" if self.kind == SERVER else f"+{self.kind}"
        place = {SERVER: f"/{self.database}", SENTINEL: f"/{self.master}", CLUSTER: ""}[self.kind]
        return f"{scheme}{kind}://{','.join(map(str, self.nodes))}{place}"


def parse(url: str) -> RedisUrl:
    """What `url` says; raises GatewayError when it cannot be understood."""
    match = _URL.fullmatch(url)
    if match is None:
        raise _wrong("it is none of redis://, redis+sentinel:// and redis+cluster:// URLs")
    kind = match["kind"] or SERVER
    user, _, hosts = match["authority"].rpartition("@")
    username, _, password = user.partition(":")
    nodes = tuple(_node(each, kind) for each in hosts.split(","))
    if kind == SERVER and len(nodes) > 1:
        raise _wrong("it names several hosts; use redis+sentinel:// or redis+cluster:// for those")
    master, database = _path([unquote(part) for part in match["path"].split("/")[1:] if part], kind)
    return RedisUrl(
        kind=kind,
        nodes=nodes,
        tls=bool(match["tls"]),
        username=unquote(username) or None,
        password=unquote(password) or None,
        database=database,
        master=master,
        options=_options(match["query"] or ""),
    )


def _node(text: str, kind: str) -> Address:
    match = _NODE.fullmatch(text)
    if match is None:
        raise _wrong(
            "after the '@' there is no host[:port]; write '/', '?', '#' and '@' in a password "
            "as %2F, %3F, %23 and %40"
        )
    port = int(match["port"] or _PORTS[kind])
    if not 0 < port < 65536:
        raise _wrong(f"no port has the number {port}")
    return Address(match["host"].strip("[]"), port)


def _path(parts: list[str], kind: str) -> tuple[str, int]:
    """The name of the master, and the number of the database."""
    master = parts.pop(0) if parts and kind == SENTINEL else "mymaster"
    database = parts.pop(0) if parts else "0"
    if parts or not re.fullmatch("[0-9]{1,5}", database):
        raise _wrong("its path is not the number of a database (with Sentinels: /master/number)")
    if kind == CLUSTER and int(database):
        raise _wrong("a Cluster has no database but 0")
    return master, int(database)


def _options(query: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            meant = f"; {near[0]} is meant?" if near else f"; there are {', '.join(OPTIONS)}"
            raise _wrong(f"it has no option {name!r:.40}{meant}")
        if name in options or not value:
            raise _wrong(f"its option {name} is given twice or is empty")
        options[name] = value
    if not _NAMESPACE.fullmatch(options.get("namespace", "modcore")):
        raise _wrong(
            "its namespace has other characters than letters, digits, '.', '_', '-', or over 64"
        )
    return options


def _wrong(reason: str) -> GatewayError:
    return GatewayError(
        f"The gateway's URL cannot be used: {reason}. It reads redis://user:password@host:6379/0 "
        "(it is not shown here: a password may stand in it)."
    )
