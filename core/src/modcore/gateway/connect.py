"""From a URL to a gateway: its scheme is an id in ``modcore.gateways``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import cast

from modcore.gateway.addresses import scheme_of
from modcore.gateway.base import Gateway, GatewayError

#: Schemes of our own packages -> the package that brings them.
_PACKAGES = {
    scheme + suffix: "modcore-redis-gateway"
    for scheme in ("redis", "rediss", "valkey", "valkeys")
    for suffix in ("", "+sentinel", "+cluster")
}


def connect(url: str) -> Gateway:
    """The gateway at `url`; nothing is sent to its store yet.

    Raises GatewayError for a URL without a scheme or with one that nobody brings, PluginError for one
    whose plugin is broken, blocked or claimed twice.
    """
    from modcore.plugins.discovery import GATEWAYS
    from modcore.plugins.manager import plugin_manager

    scheme = verify_scheme(url)
    return cast(Gateway, plugin_manager().resolve(GATEWAYS, scheme)(url))


def verify_scheme(url: str) -> str:
    """The scheme of `url`; raises GatewayError when nobody brings it. Imports no plugin."""
    from modcore.plugins.discovery import GATEWAYS
    from modcore.plugins.manager import plugin_manager

    scheme = scheme_of(url)
    known = plugin_manager().registry(GATEWAYS)
    if scheme not in known:
        raise GatewayError(
            f"No installed plugin brings the gateway {scheme}://; {_hint(scheme, known)}"
        )
    return scheme


def _hint(scheme: str, known: Iterable[str]) -> str:
    if package := _PACKAGES.get(scheme):
        return f"install the package that does: pip install {package}"
    schemes = sorted(known)
    if close := difflib.get_close_matches(scheme, [*schemes, *_PACKAGES], 1):
        package = _PACKAGES.get(close[0])
        return f"did you mean {close[0]}://" + (f" (pip install {package})?" if package else "?")
    return f"there are {', '.join(f'{each}://' for each in schemes) or 'none'}."
