"""What ends the work on an answer that nobody will read."""

from __future__ import annotations


class CallerGone(Exception):
    """The caller hung up before its answer was finished."""
