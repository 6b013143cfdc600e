"""Tokens as the bytes and strings that records of log probabilities show."""

from __future__ import annotations

import functools
import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenText:
    """What single tokens of transformers' `tokenizer` stand for.

    A token may be a part of a character, so its bytes say more than its string.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._is_byte_level = "ByteLevel" in repr(getattr(backend, "decoder", None))
        self._added = {token: str(added) for token, added in tokenizer.added_tokens_decoder.items()}

    def bytes_of(self, token: int) -> bytes:
        """The bytes of `token`; empty for an id that the tokenizer does not have (a padded vocabulary)."""
        if token in self._added:
            return self._added[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return b""
        if self._is_byte_level:
            return bytes(_byte_alphabet().get(char, 0x3F) for char in piece)
        byte = _BYTE.fullmatch(piece)
        if byte:
            return bytes([int(byte[1], 16)])
        text: str = piece
        return text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()

    def text_of(self, token: int) -> str:
        """The string of `token`; what is no whole character shows as the replacement character."""
        return self.bytes_of(token).decode("utf-8", "replace")


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for.

    Bytes that print stand for themselves, the others are numbered from U+0100 on (GPT-2's encoder).
    """
    printing = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(0x100) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }
