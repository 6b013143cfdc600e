"""Who may come in: whoever has the key; without one, whoever asks from this machine."""

from __future__ import annotations

from modcore.serve.bearer import Bearer
from modcore.serve.front_door.refusals import Refusal
from modcore.serve.front_door.request import Request
from modcore.serve.guard import OPEN_PATHS, is_local


class Access:
    """Holds requests against `api_key` (None: there is none)."""

    def __init__(self, api_key: str | None) -> None:
        self._bearer = Bearer(api_key) if api_key is not None else None

    def verify(self, request: Request) -> None:
        """Let `request` in, or raise Refusal."""
        if self._bearer is None and not is_local(request.headers.get(b"origin", b"")):
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
        given = request.headers.get(b"authorization", b"")
        return self._bearer is None or self._bearer.opens(given)
