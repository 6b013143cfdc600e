"""What a launcher hands its child over a private pipe: secrets, and a module that has no import string."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


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
        """What `to_bytes` made; the module is left as it is."""
        line, _, module = content.partition(b"\n")
        return cls(**json.loads(line), module=module)

    def __repr__(self) -> str:
        return "Handover(…)"
