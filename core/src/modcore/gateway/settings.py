"""Which gateway is used, and how long a registration lasts: `configure`, then the environment."""

from __future__ import annotations

import os

from modcore.gateway.addresses import absolute
from modcore.gateway.base import GatewayError

GATEWAY = "MODCORE_GATEWAY"
TTL = "MODCORE_GATEWAY_TTL"
DEFAULT_TTL = 6.0

_configured: dict[str, str | None] = {"gateway": None}


def configure(*, gateway: str | None) -> None:
    """Use the gateway at `gateway` (a URL) in this process from now on.

    ``""`` means none, None what ``MODCORE_GATEWAY`` says. Services that run already stay where they are.
    Raises GatewayError for what is no URL.
    """
    _configured["gateway"] = absolute(gateway) if gateway else gateway


def gateway_url() -> str | None:
    """The URL of the gateway in use, or None: what `configure` was given, else ``MODCORE_GATEWAY``.

    Paths of sqlite:// URLs are absolute.
    """
    configured = _configured["gateway"]
    if configured is None:
        named = os.environ.get(GATEWAY)
        return absolute(named) if named else None
    return configured or None


def ttl() -> float:
    """Seconds after which an instance that is silent is forgotten: ``MODCORE_GATEWAY_TTL``, else 6.

    Raises GatewayError unless that is between 0.3 and 3600.
    """
    text = os.environ.get(TTL)
    if not text:
        return DEFAULT_TTL
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.3 <= seconds <= 3600:
        raise GatewayError(f"{TTL} is {text!r}; give it seconds between 0.3 and 3600, such as 6.")
    return seconds


def heartbeat(ttl: float) -> float:
    """Seconds between two signs of life of an instance that is forgotten after `ttl`."""
    return ttl / 3
