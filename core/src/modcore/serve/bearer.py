"""Bearer tokens (RFC 6750): whether the one that a request bears is the right one."""

from __future__ import annotations

import hmac


class Bearer:
    """Knows `tokens`, any of which opens; an empty one opens nothing.

    How long `opens` takes does not tell how much of a token is right.
    """

    def __init__(self, *tokens: str) -> None:
        self._expected = [token.encode() for token in tokens if token]

    def opens(self, authorization: bytes) -> bool:
        """Whether `authorization`, the value of that header field, bears one of them."""
        scheme, _, token = authorization.partition(b" ")
        right = [hmac.compare_digest(token.strip(), each) for each in self._expected]
        return scheme.lower() == b"bearer" and any(right)
