"""Special tokens that a user types are plain text: hidden from the template, and from the tokenizer.

Where no text holds one, nothing of this happens, and a prompt is encoded whole, as transformers does. Else
each is replaced by a marker, the template is rendered, and a copy of the tokenizer encodes the result in
which special tokens are plain text, but aliases of them, put where the template itself wrote them, are not.
"""

from __future__ import annotations

import functools
import itertools
import re
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from tokenizers import AddedToken

from modcore.engine.tokenizer import Tokenizer


class SpecialTokens:
    """The special tokens of `tokenizer`, and those of `others` that are no special tokens to it."""

    def __init__(self, tokenizer: Tokenizer, others: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        backend = tokenizer.fast.backend_tokenizer
        added = backend.get_added_tokens_decoder().values()
        names = {token.content for token in added if token.special} | set(others)
        self._names = sorted(names, key=len, reverse=True)
        #: Those that are tokens at all; others are but words of a template's.
        self._tokens = [name for name in self._names if backend.token_to_id(name) is not None]
        self._pattern = _any_of(self._names)
        self._token_pattern = _any_of(self._tokens)
        self._nonce = secrets.token_hex(8)
        self._building = threading.Lock()

    def hide(
        self, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """`messages` with a marker for each special token in them, and what the markers stand for."""
        markers: dict[str, str] = {}
        joined = [_joined(message, self._pattern) for message in messages]
        return [self._hidden(message, markers) for message in joined], markers

    def encode(self, text: str, markers: Mapping[str, str], *, begins: bool) -> list[int]:
        """The ids of `text`, rendered from messages that `hide` made: what is not marked is the template's.

        `begins` puts before it what the tokenizer begins texts with.
        """
        own = self._token_pattern.sub(lambda found: self._alias(found[0]), text)
        for marker, token in markers.items():
            own = own.replace(marker, token)
        backend, ids = self._plain
        encoded = backend.encode(own, add_special_tokens=begins).ids
        return [ids.get(each, each) for each in encoded]

    def _hidden(self, value: Any, markers: dict[str, str]) -> Any:
        if isinstance(value, str):
            return self._pattern.sub(lambda found: self._marker(found[0], markers), value)
        if isinstance(value, Mapping):
            return {key: self._hidden(item, markers) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hidden(item, markers) for item in value]
        return value

    def _marker(self, token: str, markers: dict[str, str]) -> str:
        marker = f"\ue000{self._nonce}m{self._names.index(token)}\ue001"
        markers[marker] = token
        return marker

    def _alias(self, token: str) -> str:
        return f"\ue000{self._nonce}a{self._names.index(token)}\ue001"

    @property
    def _plain(self) -> tuple[Any, dict[int, int]]:
        """A tokenizer to which aliases alone are special, and the ids that aliases stand for."""
        with self._building:
            return self._copy

    @functools.cached_property
    def _copy(self) -> tuple[Any, dict[int, int]]:
        backend = deepcopy(self._tokenizer.fast.backend_tokenizer)
        flags = {token.content: token for token in backend.get_added_tokens_decoder().values()}
        # Those that are no special tokens would still be found in the text.
        backend.add_special_tokens([AddedToken(name, special=True) for name in self._tokens])
        backend.encode_special_tokens = True
        backend.add_tokens([_alias_of(self._alias(each), flags.get(each)) for each in self._tokens])
        ids = {
            backend.token_to_id(self._alias(each)): backend.token_to_id(each)
            for each in self._tokens
        }
        return backend, ids


def _any_of(names: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def _alias_of(content: str, token: AddedToken | None) -> AddedToken:
    """What is found as `token` is, without being special."""
    return AddedToken(
        content,
        lstrip=bool(token and token.lstrip),
        rstrip=bool(token and token.rstrip),
        normalized=False,
        special=False,
    )


def _joined(message: Mapping[str, Any], pattern: re.Pattern[str]) -> dict[str, Any]:
    """`message`, with texts put together that hold a special token only when they stand side by side."""
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts: list[dict[str, Any]] = []
    for is_text, group in itertools.groupby(content, lambda part: part["type"] == "text"):
        run = list(group)
        parts += _one_text(run, pattern) if is_text else run
    return {**message, "content": parts}


def _one_text(texts: list[dict[str, Any]], pattern: re.Pattern[str]) -> list[dict[str, Any]]:
    """`texts`, or one that is all of them where that holds other special tokens than they do."""
    whole = "".join(part["text"] for part in texts)
    apart = [token for part in texts for token in pattern.findall(part["text"])]
    return texts if pattern.findall(whole) == apart else [{**texts[-1], "text": whole}]
