"""Who may come in: whoever has the key; without one, whoever asks from this machine."""

from __future__ import annotations

import hmac

from modcore.serve.front_door.refusals import Refusal
from modcore.serve.front_door.request import Request
from modcore.serve.guard import MAX_HEADER_BYTES, is_local

#: What anybody may ask.
OPEN_PATHS = frozenset({"/health", "/readyz"})


class Access:
    """Holds requests against `api_key` (None: there is none), and against the bounds of a header."""

    def __init__(self, api_key: str | None) -> None:
        self._expected = f"bearer {api_key}".encode() if api_key is not None else None

    def verify(self, request: Request) -> None:
        """Let `request` in, or raise Refusal."""
        if sum(len(name) + len(value) for name, value in request.fields) > MAX_HEADER_BYTES:
            raise Refusal(431, f"The headers are larger than {MAX_HEADER_BYTES} bytes; send fewer.")
        if self._expected is None and not is_local(request.headers.get(b"origin", b"")):
            raise Refusal(
                403,
                "This front door has no key and answers no web pages of other hosts; give it a key.",
            )
        if request.path not in OPEN_PATHS and not self._has_key(request):
            raise Refusal(
                401,
                "The API key is missing or wrong; send it as `Authorization: Bearer KEY`.",
                code="invalid_api_key",
            )

    def _has_key(self, request: Request) -> bool:
        if self._expected is None:
            return True
        scheme, _, key = request.headers.get(b"authorization", b"").partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + key.strip(), self._expected)
