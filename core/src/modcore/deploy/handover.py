"""What a launcher hands its child over a private pipe: secrets, and a module that has no import string."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """`token` opens the service; with a `gateway` (a URL, which may hold a password) it registers there.

    `cluster_key` is the secret behind both then. `module` is the pickled module, empty when the command
    line names one.
    """

    token: str = ""
    gateway: str = ""
    cluster_key: str = ""
    module: bytes = b""

    def to_bytes(self) -> bytes:
        """One line of JSON, and the module."""
        values = asdict(self)
        module = values.pop("module")
        return json.dumps(values).encode() + b"\n" + bytes(module)

    @classmethod
    def from_bytes(cls, content: bytes) -> Handover:
        """What `to_bytes` made; the module is left as it is. Raises ValueError for anything else."""
        line, _, module = content.partition(b"\n")
        try:
            return cls(**json.loads(line), module=module)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(
                "this is no handover"
            ) from None  # and it is not shown: it may be secret

    def secrets(self) -> list[str]:
        """What of it must not stand in a log."""
        url = urlsplit(self.gateway)
        passwords = [url.password, unquote(url.password)] if url.password else []
        return [*filter(None, (self.token, self.cluster_key)), *passwords]

    def __repr__(self) -> str:
        return "Handover(…)"


def secrets_in(payload: bytes | None) -> list[str]:
    """The secrets of a handover; none in bytes that are something else."""
    try:
        return Handover.from_bytes(payload or b"").secrets()
    except ValueError:
        return []
