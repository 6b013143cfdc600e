"""What an operator sets of a vision model: its dtype, and the limits of what is read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from modcore.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionOptions:
    """`dtype` is as in BuildOptions; the limits hold for one image, or for all of one request.

    `max_tiles` and `max_request_tiles` count what the tower reads, thumbnails among them (None: no
    limit beyond the checkpoint's own). Images are fetched from `media_domains` alone.
    """

    dtype: str = "auto"
    max_image_pixels: int = 16_000_000
    max_image_bytes: int = 20_000_000
    max_tiles: int | None = None
    max_request_tiles: int | None = None
    media_domains: tuple[str, ...] = ()

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """The options by name; raises InvalidRequest for one that does not exist, or cannot be."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
                raise InvalidRequest(f"{name} is no option of a vision model; {hint}", param=name)
        for name, value in options.items():
            if name.startswith("max_") and not (
                value is None or (type(value) is int and value >= 1)
            ):
                raise InvalidRequest(
                    f"{name} is {value!r}; it has to be a whole number of at least 1.", param=name
                )
        return cls(**options)
