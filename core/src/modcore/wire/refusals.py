"""What the wire says of a value that cannot travel, and of bytes that hold none."""

from __future__ import annotations

from modcore.errors import ModcoreError


class CannotTravel(ModcoreError, TypeError):
    """A value has no form on the wire; the message names it, where it is, and what to send instead."""

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(reason, place)
        self.reason, self.place = reason, place

    def inside(self, part: str) -> CannotTravel:
        """The same, seen from one level further out."""
        return CannotTravel(self.reason, part + self.place)

    def __str__(self) -> str:
        where = f" (at {self.place.lstrip('.')})" if self.place else ""
        return f"this cannot travel: {self.reason}{where}."


class Malformed(ModcoreError, ValueError):
    """Bytes that are no message: what is wrong with them, and where."""


class NeedsImport(Exception):
    """A message holds what only a library that is not loaded yet can read; `library` is its name."""

    def __init__(self, library: str) -> None:
        super().__init__(library)
        self.library = library
