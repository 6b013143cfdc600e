"""The parts of ``modcore demo``: poems in the public domain, a training run, an evaluation.

The poems are William Blake's *The Tyger* (1794), Lewis Carroll's *Jabberwocky* (1871) and William
Shakespeare's *Sonnet 18* (1609).
"""

from __future__ import annotations

from pathlib import Path


def poems() -> str:
    """The text that the demonstration learns by heart."""
    return (Path(__file__).parent / "poems.txt").read_text(encoding="utf-8")


def questions() -> list[tuple[str, str]]:
    """The evaluation set: two lines as the prompt, and the line that has to follow."""
    verses = [verse.splitlines() for verse in poems().split("\n\n")]
    return [
        (f"{verse[i]}\n{verse[i + 1]}\n", verse[i + 2])
        for verse in verses
        for i in range(len(verse) - 2)
    ]
