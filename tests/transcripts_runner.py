"""Documents that are sessions at a Python prompt, run line by line.

`replay` runs a session and writes it down again with what is printed now, as the interactive
interpreter would show it; a document is right when that is the document itself:

    assert replay(text) == text

Spacing counts. A call that returns a value echoes its repr. An error reads as its first and last
lines, with ``    ...`` between them.
"""

from __future__ import annotations

import io
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

TRANSCRIPTS = Path(__file__).parent / "transcripts"

_PROMPT = re.compile(r">>>( |$)")
_CONTINUED = re.compile(r"\.\.\.( |$)")
_FENCED = re.compile(r"^```pycon\n(.*?)^```$", re.M | re.S)


def replay(session: str, namespace: dict[str, Any] | None = None) -> str:
    """The session as it runs now, in `namespace` (a new ``__main__`` unless given)."""
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    out = io.StringIO()
    with redirect_stdout(out), mock.patch.object(sys, "displayhook", _echo):
        for statement in statements(session):
            out.write("".join(f"{line}\n" for line in statement))
            _run("\n".join(line[4:] for line in statement), namespace)
    return out.getvalue()


def statements(session: str) -> Iterator[list[str]]:
    """The lines typed at each prompt, prompts included, without what was printed."""
    typed: list[str] = []
    for line in session.splitlines():
        if typed and _CONTINUED.match(line):
            typed.append(line)
            continue
        if typed:
            yield typed
        typed = [line] if _PROMPT.match(line) else []
    if typed:
        yield typed


def sessions_of(page: str) -> str:
    """The ``pycon`` blocks of a Markdown page, as one session."""
    return "".join(_FENCED.findall(page))


def _run(source: str, namespace: dict[str, Any]) -> None:
    if all(line.lstrip().startswith("#") or not line.strip() for line in source.splitlines()):
        return  # the compiler wants a statement
    try:
        exec(compile(source + "\n", "<session>", "single"), namespace)
    except Exception as error:
        print("Traceback (most recent call last):\n    ...")
        print("".join(traceback.format_exception_only(error)), end="")


def _echo(value: object) -> None:
    if value is not None:
        print(repr(value))
