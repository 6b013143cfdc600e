"""Which addresses calls may go to: a registry's documents must not send them anywhere else."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from modcore.gateway.base import GatewayError

NETWORKS = "MODCORE_ALLOWED_NETWORKS"
LOOPBACK = "127.0.0.0/8,::1/128"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AllowedNetworks:
    """The networks that `text` lists: CIDRs and single addresses, separated by commas.

    Host names are never looked up: only ``localhost`` is taken for an address. Raises GatewayError for
    what is no network.
    """

    def __init__(self, text: str = LOOPBACK) -> None:
        self._networks = [_network(part.strip()) for part in text.split(",") if part.strip()]

    @classmethod
    def from_environment(cls) -> AllowedNetworks:
        """What ``MODCORE_ALLOWED_NETWORKS`` lists, else loopback."""
        return cls(os.environ.get(NETWORKS) or LOOPBACK)

    def allows(self, url: str) -> bool:
        """Whether the host of `url` is an address in one of them."""
        address = _address(urlsplit(url).hostname or "")
        return address is not None and any(
            address in network for network in self._networks if network.version == address.version
        )

    def __str__(self) -> str:
        return ", ".join(map(str, self._networks))


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise GatewayError(
            f"{NETWORKS} names {text!r}, which is no network ({error}); write it as 10.0.0.0/8."
        ) from None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if host == "localhost":
        host = "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
