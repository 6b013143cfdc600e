"""Text from elsewhere on a person's terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with control characters spelled out: metadata must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
