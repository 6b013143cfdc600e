"""Token by token to text that can be shown: whole characters only, and nothing past a stop string.

The pieces of a text are, joined, the text: streamed and unstreamed answers are equal because both
are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: What an unfinished UTF-8 sequence decodes to.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CONTEXT = 8  # tokens that a new one is decoded with, at least
_BYTES = 4  # of a UTF-8 character at most, so it spans no more tokens


class Detokenizer:
    """Decodes a window of the last tokens, so that a piece costs the same at any length.

    `decode` is the tokenizer's; the first piece is decoded with the end of the prompt, for the
    space between the two. The window begins where a character does: a tokenizer that falls back on
    bytes (SentencePiece) decodes a row of them all or not at all, so that half a character at either
    end would make replacements of whole ones.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], prompt_ids: Sequence[int]) -> None:
        self._decode = decode
        self._window, text = _end_of(prompt_ids, decode)
        self._shown = len(text)
        self._cut = len(self._window)  # a place in the window where a character ends
        self._open = 0  # last tokens that have finished no character

    def push(self, token: int) -> str:
        """The text that `token` completes; empty while a character is unfinished."""
        self._window.append(token)
        text = self._decode(self._window)
        finished = len(text.rstrip(REPLACEMENT))
        if finished == len(text):
            self._open = 0
        elif finished > self._shown:
            self._open = 1
        else:
            self._open += 1
            if self._open >= _BYTES:  # they will never be a character
                text = self._restarted(text)
                finished = len(text) - _unfinished(text)
        piece = text[self._shown : finished]
        self._shown = max(self._shown, finished)
        self._slide()
        return piece

    def flush(self) -> str:
        """What remains at the end: an unfinished character, shown as the replacement character."""
        return self._restarted(self._decode(self._window))[self._shown :]

    def _restarted(self, text: str) -> str:
        """`text` of the window, which begins anew where its open tokens spoil what has been shown."""
        window = self._window[len(self._window) - self._open :]
        alone = self._decode(window)
        if self._open and len(alone) < len(text) - self._shown:
            self._window, self._cut, self._shown = window, 0, 0
            return alone
        return text

    def _slide(self) -> None:
        """Leave behind what no later token is decoded with."""
        size = len(self._window)
        if not self._open and size - self._cut >= _CONTEXT:
            self._window = self._window[self._cut :]
            self._cut = len(self._window)
        elif size > 4 * _CONTEXT:  # nothing but broken characters
            self._window, self._cut = self._window[-_CONTEXT:], 0
        else:
            return
        text = self._decode(self._window)
        self._shown = len(text) - _unfinished(text)


def _end_of(
    prompt_ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> tuple[list[int], str]:
    """The last tokens of a prompt and their text; nothing when it ends with half a character.

    The answer must not complete that a second time.
    """
    for size in range(_CONTEXT, _CONTEXT + _BYTES):  # one of these begins with a whole character
        window = list(prompt_ids[-size:])
        text = decode(window)
        if not text.endswith(REPLACEMENT):
            return window, text
    return [], ""


def _unfinished(text: str) -> int:
    """How many characters at the end of `text` may yet become another one."""
    return min(len(text) - len(text.rstrip(REPLACEMENT)), _BYTES - 1)


class StopStrings:
    """Holds back what may become a stop string, and cuts the text before the first one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str, *, may_stop: bool = True) -> tuple[str, bool]:
        """What of `text` may be shown, and whether a stop string has ended it.

        One that ends in a text that `may_stop` may have begun in one that may not.
        """
        before = len(self._held)
        self._held += text
        places = [
            place
            for stop in self._stops
            if may_stop and (place := self._held.find(stop, max(0, before - len(stop) + 1))) >= 0
        ]
        if places:
            shown, self._held = self._held[: min(places)], ""
            return shown, True
        keep = self._unsafe_tail()
        shown, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return shown, False

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held

    def _unsafe_tail(self) -> int:
        """How many last characters are the beginning of a stop string."""
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:size]):
                    longest = size
                    break
        return longest
