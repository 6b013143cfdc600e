"""The Lua that runs inside Redis, by name: each script is one step that nobody sees half done.

Only what Redis 6.2 has, so that every Valkey runs it too; no Functions. Each is called by its digest, and
sent in full only to a server that does not know it (yet, or after a restart).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_SOURCES = files("modcore_redis_gateway") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """A script's source, and the digest by which Redis knows it."""

    name: str
    source: str
    digest: str


def _load(name: str) -> Script:
    source = "\n".join((_SOURCES / f"{part}.lua").read_text("utf-8") for part in ("prelude", name))
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


REGISTER = _load("register")
HEARTBEAT = _load("heartbeat")
DEREGISTER = _load("deregister")
RESOLVE = _load("resolve")
