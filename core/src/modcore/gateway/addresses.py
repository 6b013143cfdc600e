"""URLs of gateways: their scheme, what of them may be shown, and where a sqlite:// one lies."""

from __future__ import annotations

import re
from pathlib import Path

from modcore.gateway.base import GatewayError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SQLITE = "sqlite://"


def scheme_of(url: str) -> str:
    """What stands before ``://`` in `url`, in small letters; raises GatewayError when nothing does."""
    found = _SCHEME.match(url) if isinstance(url, str) else None
    if not found:
        raise GatewayError(
            "A gateway is a URL such as sqlite:////var/tmp/services.db or redis://127.0.0.1:6379/0; "
            f"{_cut(url)!r} has no scheme."
        )
    return found[1].lower()


def shown(url: str) -> str:
    """`url` for people: without user, password and options."""
    scheme, separator, rest = url.partition("://")
    if scheme.lower() == "sqlite":
        return url
    user, _, place = rest.rpartition("@")
    if re.search(r"[/?#]", user):
        return f"{scheme}{separator}…"  # who can tell where such a password ends
    return f"{scheme}{separator}{re.split('[?#]', place, maxsplit=1)[0]}"


def absolute(url: str) -> str:
    """`url` so that it means the same in every directory: a relative sqlite:// path becomes absolute."""
    if scheme_of(url) != "sqlite":
        return url
    return f"{_SQLITE}/{sqlite_path(url)}"


def verify_shared(url: str) -> None:
    """Raise GatewayError for a gateway that other processes cannot see."""
    if scheme_of(url) == "memory":
        raise GatewayError(
            "A gateway in memory:// is seen by this process alone, and services run in processes of their "
            "own; use sqlite:///path/to/file, or redis://."
        )


def sqlite_path(url: str) -> Path:
    """The file of `url`, by SQLAlchemy's convention: ``sqlite:///relative``, ``sqlite:////absolute``.

    Raises GatewayError when it names no file.
    """
    rest = url[len(_SQLITE) :]
    if not rest.startswith("/"):
        raise GatewayError(
            f"{url!r} names a host; write sqlite:///{rest or 'services.db'} for a file in this directory, "
            f"or sqlite:////{rest or 'var/tmp/services.db'} for one from the root."
        )
    name = rest[1:]
    if not name or name.startswith(":memory:"):
        raise GatewayError(f"{url!r} names no file; what one process keeps in memory is memory://.")
    if "?" in name or "\0" in name:
        raise GatewayError(
            f"{url!r} has a '?' or a NUL in it; a sqlite:// gateway takes no options."
        )
    return Path(name).absolute()


def _cut(url: object) -> str:
    """The beginning of what is no URL: it may be a password."""
    return f"{str(url)[:8]}…" if len(str(url)) > 8 else str(url)
