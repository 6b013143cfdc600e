"""What an operator sets of a vision model: its dtype, and the limits of what is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from modcore.errors import InvalidRequest
from modcore.plugins.records import DTYPES

#: Pillow warns of images that are larger, and refuses twice as many pixels.
MOST_PIXELS = 89_478_485
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionOptions:
    """`dtype` is as in BuildOptions; the limits hold for one image, or for all of one request.

    `max_tiles` and `max_request_tiles` count what the tower reads, thumbnails among them (None: no
    limit beyond the checkpoint's own); a request has no more images than tiles. Images are fetched
    from `allow_media_domain` alone. `feature_cache_bytes` bounds the features that are kept for images that
    come again.
    """

    dtype: str = "auto"
    max_image_pixels: int = 16_000_000
    max_image_bytes: int = 20_000_000
    max_tiles: int | None = None
    max_request_tiles: int | None = 256
    allow_media_domain: tuple[str, ...] = ()
    feature_cache_bytes: int = 256 << 20

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """The options by name; raises InvalidRequest for one that does not exist, or cannot be."""
        known = [field.name for field in fields(cls)]
        for name in options:
            verify_name(name, known)
        return cls(**{name: _checked(name, value) for name, value in options.items()})


def verify_name(name: str, known: Iterable[str]) -> None:
    """Raise InvalidRequest, with the one that is meant, for an option that is none of `known`."""
    names = sorted(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}."
        raise InvalidRequest(f"{name} is no option of a vision model; {hint}", param=name)


def _checked(name: str, value: Any) -> Any:
    if name == "allow_media_domain":
        return _domains(value)
    if name == "dtype" and value not in DTYPES:
        raise InvalidRequest(
            f"dtype is {value!r}; it has to be one of {', '.join(DTYPES)}.", param="dtype"
        )
    least, most = _BOUNDS.get(name, (0, None))
    if name not in _BOUNDS or (value is None and name in _OPTIONAL):
        return value
    if type(value) is not int or value < least or (most is not None and value > most):
        bound = f"at least {least}" if most is None else f"{least} to {most}"
        raise InvalidRequest(
            f"{name} is {value!r}; it has to be a whole number of {bound}.", param=name
        )
    return value


_BOUNDS: dict[str, tuple[int, int | None]] = {
    "max_image_pixels": (4, MOST_PIXELS),
    "max_image_bytes": (1, MOST_BYTES),
    "max_tiles": (1, None),
    "max_request_tiles": (1, None),
    "feature_cache_bytes": (0, None),
}
_OPTIONAL = ("max_tiles", "max_request_tiles")


def _domains(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(_is_name(name) for name in names):
        raise InvalidRequest(
            f"{value!r} does not name domains; give host names such as images.example.org, "
            "without a scheme, a port or a path.",
            param="allow_media_domain",
        )
    return tuple(_as_asked(name) for name in names)


def _is_name(name: Any) -> bool:
    is_text = isinstance(name, str) and bool(name) and not set(name) & set("/:@?#\\ *")
    try:
        return is_text and bool(_as_asked(name))
    except UnicodeError:  # an empty label, or one that is too long
        return False


def _as_asked(name: str) -> str:
    """As URLs have it: in lower case, without the dot behind it, in ASCII (RFC 3490)."""
    return name.rstrip(".").encode("idna").decode().lower()
