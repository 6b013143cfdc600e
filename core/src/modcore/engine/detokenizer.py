"""Token by token to text that can be shown: whole characters only, and nothing past a stop string.

The pieces of a text are, joined, the text: streamed and unstreamed answers are equal because both
are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: What an unfinished UTF-8 sequence decodes to.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CONTEXT = 8  # tokens that a new one is decoded with; no character spans more


class Detokenizer:
    """Decodes a window of the last tokens, so that a piece costs the same at any length.

    `decode` is the tokenizer's; the first piece is decoded with the end of the prompt, for the
    space between the two.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], prompt_ids: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(prompt_ids[-_CONTEXT:])
        text = decode(self._window)
        if text.endswith(REPLACEMENT):  # half a character, which the answer must not complete twice
            self._window, text = [], ""
        self._shown = len(text)

    def push(self, token: int) -> str:
        """The text that `token` completes; empty while a character is unfinished."""
        self._window.append(token)
        text = self._decode(self._window)
        finished = len(text) - _unfinished(text)
        piece = text[self._shown : finished]
        self._shown = max(self._shown, finished)
        if len(self._window) > 2 * _CONTEXT:
            self._window = self._window[-_CONTEXT:]
            text = self._decode(self._window)
            self._shown = len(text) - _unfinished(text)
        return piece

    def flush(self) -> str:
        """What remains at the end: an unfinished character, shown as the replacement character."""
        return self._decode(self._window)[self._shown :]


def _unfinished(text: str) -> int:
    """How many characters at the end of `text` may yet become another one.

    A UTF-8 character has four bytes at most, so three may stand at the end as replacements.
    """
    return min(len(text) - len(text.rstrip(REPLACEMENT)), 3)


class StopStrings:
    """Holds back what may become a stop string, and cuts the text before the first one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What of `text` may be shown, and whether a stop string has ended it."""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
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
