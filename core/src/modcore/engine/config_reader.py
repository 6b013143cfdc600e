"""Typed access to a ``config.json``: aliases are data, errors name key and file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modcore.errors import CheckpointError

#: Other spellings of a key, in the order in which they are looked for.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "n_embed"),
    "num_attention_heads": ("n_head",),
    "num_hidden_layers": ("n_layer",),
}

_MISSING: Any = object()
_LARGEST = 1e300


class ConfigReader:
    """Typed access to the JSON object of a ``config.json``.

    `defaults` are the family's values for keys that a file may leave out. Every method raises
    CheckpointError when a key is missing without a default, or has the wrong type or range.
    """

    def __init__(
        self, raw: Mapping[str, Any], source: str, defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.raw, self.source = raw, source
        self._defaults = defaults or {}

    def value(self, key: str) -> Any:
        """The value of `key` or of one of its aliases; the default when none is there."""
        found = {name: self.raw[name] for name in (key, *ALIASES.get(key, ())) if name in self.raw}
        if found:
            return self._agreed(key, found)
        default = self._defaults.get(key, _MISSING)
        if default is _MISSING:
            raise self.error(key, "is missing; add it, or fetch the original config.json")
        return default

    def _agreed(self, key: str, found: dict[str, Any]) -> Any:
        """The value that all spellings of `key` give; null says nothing beside another."""
        said = {name: value for name, value in found.items() if value is not None}
        if any(value != next(iter(said.values())) for value in said.values()):
            spellings = " and ".join(f"{name} {value!r}" for name, value in said.items())
            raise self.error(key, f"is spelled twice with different values, {spellings}; keep one")
        return next(iter(said.values()), None)

    def integer(self, key: str, minimum: int = 1) -> int:
        """A whole number of at least `minimum`."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.error(
                key, f"is {value!r} where a whole number of at least {minimum} is expected"
            )
        return value

    def optional_integer(self, key: str) -> int | None:
        """A whole number of at least 1, or None."""
        return None if self.value(key) is None else self.integer(key)

    def number(self, key: str, above: float = 0.0) -> float:
        """A finite number greater than `above`."""
        value = self.value(key)
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared before it is converted: JSON's whole numbers may be too large for a float.
        if not numeric or not above < value <= _LARGEST:
            raise self.error(key, f"is {value!r} where a number above {above:g} is expected")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """A finite positive number, or None."""
        return None if self.value(key) is None else self.number(key)

    def boolean(self, key: str) -> bool:
        """True or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r} where true or false is expected")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of `choices`."""
        value = self.value(key)
        if value not in choices:
            raise self.error(
                key, f"is {value!r}, which is not served; served are {', '.join(choices)}"
            )
        return str(value)

    def error(self, key: str, problem: str) -> CheckpointError:
        """The error for `key`."""
        return CheckpointError(f"{self.source}: {key} {problem}.")
