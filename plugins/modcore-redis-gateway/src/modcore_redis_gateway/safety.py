"""Which Redis is trusted with a registry: one on this machine, or one that asks who comes."""

from __future__ import annotations

import ipaddress
import os

from modcore.gateway.base import GatewayError
from modcore_redis_gateway.url import Address, RedisUrl

INSECURE = "MODCORE_INSECURE_GATEWAY"


def verify_guarded(url: RedisUrl, *places: Address) -> None:
    """Raise GatewayError if one of `places` is on another machine and the URL has nothing to show there.

    A password authenticates, and so does a client's certificate over TLS. TLS alone does not: it keeps
    others from listening, not from writing. ``MODCORE_INSECURE_GATEWAY=1`` turns the refusal off.
    """
    if url.password or (url.tls and "ssl_certfile" in url.options):
        return
    open_to_all = [str(place) for place in places if not _is_loopback(place.host)]
    if open_to_all and os.environ.get(INSECURE) != "1":
        raise GatewayError(
            f"The Redis at {', '.join(open_to_all)} is on another machine and would be used without "
            "authentication: whoever reaches it could write to the registry. Give it a password "
            "(rediss://user:password@host) or a client certificate (ssl_certfile), "
            f"or accept the risk with {INSECURE}=1."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
