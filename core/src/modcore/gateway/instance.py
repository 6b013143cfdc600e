"""One running instance of a service, and the signed document that tells of it."""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from modcore._version import VERSION
from modcore.errors import ServiceError
from modcore.gateway.base import Entry
from modcore.gateway.cluster_key import ClusterKey

MAX_DOCUMENT = 16 * 1024  # characters
#: A service's name: a part of URLs, of keys and of file names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_URL = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?"
)
_FORMAT = 1
DEFAULT_CAPACITY = 128  # calls at once


class BadDocument(ServiceError):
    """What a store holds is no document of an instance, or is not signed with our key.

    `reason` is one word for counting: ``size``, ``shape``, ``signature``, ``place``, ``network``.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Where one instance of `service` is, and what it can do.

    `capacity` is the number of calls that it takes at once; `models` are the names under which it
    speaks the OpenAI API; `schema` is a digest of what its module takes; `idempotent` says that a call may be
    made again elsewhere when the instance dies before it answers; `started_at` is seconds since 1970 by
    its own clock, for people only.
    """

    service: str
    url: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    capacity: int = DEFAULT_CAPACITY
    models: tuple[str, ...] = ()
    module: str = ""
    schema: str = ""
    idempotent: bool = False
    version: str = VERSION
    launcher: str = "local"
    started_at: float = field(default_factory=time.time)
    draining: bool = False

    def entry(self, key: ClusterKey) -> Entry:
        """The instance as a store keeps it, signed."""
        content = json.dumps({"v": _FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"))
        document = json.dumps({"content": content, "signature": key.sign(content)})
        return Entry(service=self.service, id=self.id, epoch=self.epoch, document=document)


def read_entry(entry: Entry, key: ClusterKey) -> Instance:
    """The instance that `entry` tells of; raises BadDocument, with the reason, unless all of it is right."""
    if len(entry.document) > MAX_DOCUMENT:
        raise BadDocument(
            f"it has {len(entry.document)} characters; {MAX_DOCUMENT} are the most", "size"
        )
    envelope = _object(entry.document)
    content, signature = envelope.get("content"), envelope.get("signature")
    if not isinstance(content, str) or not isinstance(signature, str):
        raise BadDocument("it has no content or no signature", "shape")
    if not key.verify(content, signature):
        raise BadDocument("its signature is not of this cluster's key", "signature")
    instance = _instance(_object(content))
    if (instance.service, instance.id, instance.epoch) != (entry.service, entry.id, entry.epoch):
        raise BadDocument("it is stored under another name than it was signed for", "place")
    return instance


def verify_service_name(name: str) -> str:
    """`name`; raises ServiceError when a service cannot be called so."""
    if not _NAME.fullmatch(name):
        raise ServiceError(
            f"{name!r} cannot be a service's name; use letters, digits, '.', '_' and '-', 128 at most, "
            "the first a letter or a digit."
        )
    return name


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadDocument("it is no JSON object", "shape")
    return value


def _instance(content: Mapping[str, Any]) -> Instance:
    if content.get("v") != _FORMAT:
        raise BadDocument(
            f"it is of format {content.get('v')!r:.80}; this modcore reads {_FORMAT}", "shape"
        )
    known = {each.name: content[each.name] for each in fields(Instance) if each.name in content}
    for name, value in known.items():
        if not _KINDS[name](value):
            raise BadDocument(f"its {name} is {value!r:.80}", "shape")
    missing = {"service", "url", "id", "epoch"} - known.keys()
    if missing:
        raise BadDocument(f"it has no {', '.join(sorted(missing))}", "shape")
    return Instance(**{**known, "models": tuple(known.get("models", ()))})


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 512


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)


def _is_url(value: object) -> bool:
    # Nothing that two parsers could read as two hosts: no user, no backslash, no blank, no query.
    if not isinstance(value, str) or len(value) > 512 or not _URL.fullmatch(value):
        return False
    try:
        address = urlsplit(value)
        port = address.port
    except ValueError:
        return False
    return bool(address.hostname) and port != 0


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(_is_text(name) for name in value)


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "service": _is_id,
    "url": _is_url,
    "id": _is_id,
    "epoch": _is_id,
    "capacity": lambda value: type(value) is int and 0 < value <= 1_000_000,
    "models": _are_names,
    "module": _is_text,
    "schema": _is_text,
    "version": _is_text,
    "launcher": _is_text,
    "started_at": _is_number,
    "draining": lambda value: isinstance(value, bool),
    "idempotent": lambda value: isinstance(value, bool),
}
