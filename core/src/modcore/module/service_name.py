"""The names under which ServerModules find each other in a gateway."""

from __future__ import annotations

import re
import secrets

from modcore.gateway.instance import verify_service_name

_MAX_PATH = 100  # characters of a tree's path that a name keeps, the last ones


def service_name(name: str | None, path: str) -> str:
    """`name`, or one that is nobody else's, which tells where in its tree the module is.

    Raises ServiceError when `name` cannot be a service's.
    """
    if name is not None:
        return verify_service_name(name)
    words = re.sub(r"[^A-Za-z0-9._]+", "-", path).strip("-._")[-_MAX_PATH:].strip("-._")
    return f"{words or 'service'}-{secrets.token_hex(6)}"
