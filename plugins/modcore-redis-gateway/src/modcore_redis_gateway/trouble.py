"""What redis-py raises, as sentences: what will not pass by itself, and what may."""

from __future__ import annotations

import re
import ssl

from redis import exceptions

from modcore.gateway.base import GatewayError, GatewayUnavailable
from modcore_redis_gateway.url import SERVER, RedisUrl

#: How Redis says it, by version; inside a script it is an ordinary error.
_FORBIDDEN = re.compile(r"no permissions|can't run this command|can't access at least one", re.I)


def told(error: Exception, url: RedisUrl) -> GatewayError:
    """The error of a gateway for what redis-py raised."""
    reason = _lasting(error, url)
    if reason:
        return GatewayError(f"The gateway {url.name} cannot be used: {reason}")
    return GatewayUnavailable(f"The gateway {url.name} does not answer now: {_passing(error, url)}")


def _lasting(error: Exception, url: RedisUrl) -> str | None:
    """What a person has to mend, if it is such a thing."""
    if isinstance(error, exceptions.AuthenticationError):
        return _unauthenticated(url)
    if isinstance(error, exceptions.NoPermissionError) or _FORBIDDEN.search(str(error)):
        return (
            f"the user {url.username or 'default'} may not do what a gateway does ({error}); the README "
            "of modcore-redis-gateway has the line for ACL SETUSER"
        )
    if isinstance(error, exceptions.MovedError) and url.kind == SERVER:
        return "it is a node of a Redis Cluster; use redis+cluster://"
    if isinstance(error, exceptions.InvalidResponse):
        return "what listens there does not speak Redis's protocol (with TLS: use rediss://)"
    if isinstance(error, exceptions.ResponseError) and "DB index" in str(error):
        return f"it has no database {url.database}"
    return _mistrusted(error)


def _unauthenticated(url: RedisUrl) -> str:
    if url.password:
        return f"it refuses the password of the user {url.username or 'default'}; check both"
    return "it asks for a password; put it into the URL: redis://user:password@host"


def _mistrusted(error: Exception) -> str | None:
    """What is wrong with a certificate or a file of TLS; redis-py chains or wraps these as it likes."""
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}); name the file of your "
            "authority with ?ssl_ca_certs=FILE, and the host as the certificate does"
        )
    if isinstance(cause, ssl.SSLEOFError):
        return None  # the server has ended it, perhaps with itself
    if isinstance(cause, (FileNotFoundError, PermissionError, ssl.SSLError)):
        return (
            f"TLS does not come about ({cause}); check the files that the URL names, and the port"
        )
    return None


def _passing(error: Exception, url: RedisUrl) -> str:
    if isinstance(error, exceptions.TimeoutError):
        return f"no answer in time{' (is it a server without TLS?)' if url.tls else ''}."
    if isinstance(error, exceptions.RedisError) and "WRONGTYPE" in str(error):
        return "a key is of another type than ours; the next heartbeat of a service mends it."
    return str(error)
