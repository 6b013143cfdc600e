"""The secret that services of one cluster share: their call tokens and signatures derive from it."""

from __future__ import annotations

import hashlib
import hmac

from modcore.gateway.base import GatewayError

#: Fewer characters could be guessed.
MIN_SECRET = 16


class ClusterKey:
    """Signs documents, and derives the token with which services of the cluster call each other.

    Raises GatewayError for a secret of fewer than `MIN_SECRET` characters: an empty one never means that
    nothing is checked.
    """

    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_SECRET:
            raise GatewayError(
                f"The cluster key has {len(secret)} characters; give it {MIN_SECRET} or more, for example "
                'from: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        try:
            self._secret = secret.encode()
        except UnicodeEncodeError:
            raise GatewayError(
                "The cluster key is no UTF-8 text; use letters and digits."
            ) from None
        self._signing = self._derive("sign documents")

    @property
    def secret(self) -> str:
        """What it was made of, for the private pipe to a child."""
        return self._secret.decode()

    @property
    def token(self) -> str:
        """The bearer token of every service of the cluster."""
        return self._derive("call services").hex()

    def sign(self, content: str) -> str:
        """The signature of `content`, hexadecimal."""
        return hmac.new(self._signing, content.encode(), hashlib.sha256).hexdigest()

    def verify(self, content: str, signature: str) -> bool:
        """Whether `signature` is the one of `content`."""
        try:
            given, right = signature.encode(), self.sign(content).encode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and UTF-8 cannot
            return False
        return hmac.compare_digest(right, given)

    def __repr__(self) -> str:
        return "ClusterKey(…)"

    def _derive(self, purpose: str) -> bytes:
        """A key of its own for each purpose (RFC 5869's expand step, one block)."""
        return hmac.new(self._secret, f"modcore {purpose}\x01".encode(), hashlib.sha256).digest()
