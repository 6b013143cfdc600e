"""How a front door behaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Its key (None: whoever reaches it may call), and what it lets through at once.

    `timeout` is in seconds: no answer takes longer. `capacity` bounds the calls under way,
    `service_capacity` those of one service or model.
    """

    api_key: str | None = None
    timeout: float = 600.0
    capacity: int = 1024
    service_capacity: int = 512
